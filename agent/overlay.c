#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "identity.h"

static void write_file(const char *path, const char *text, size_t len) {
    char parent[400];
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    mount_make_directory(parent, 0755);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, len) < 0) log_line("cannot write %s: %s", path, strerror(errno));
    if (fd >= 0) close(fd);
}

static void write_text(const char *path, const char *text) { write_file(path, text, strlen(text)); }

static void link_to_null(const char *path) {
    char parent[400];
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    mount_make_directory(parent, 0755);
    if (symlink("/dev/null", path) < 0 && errno != EEXIST) log_line("cannot mask %s: %s", path, strerror(errno));
}

static bool is_mount_point(const char *path) {
    struct stat here, run;
    return stat(path, &here) == 0 && stat("/run", &run) == 0 && here.st_dev == run.st_dev;
}

/* Where a link that leads nowhere leads to; a path under /run is ours to fill. */
static bool fill_dangling(const char *target, const char *text, size_t len) {
    char link[PATH_MAX], path[PATH_MAX + 16];
    ssize_t n = readlink(target, link, sizeof link - 1);
    if (n <= 0) return false;
    link[n] = 0;
    const char *run = strncmp(link, "../run/", 7) == 0 ? link + 2 : link;
    if (strncmp(run, "/run/", 5) != 0 || strstr(run, "/..")) return false;
    snprintf(path, sizeof path, "%.390s", run);
    write_file(path, text, len);
    return true;
}

/* Lay /run/banger/<name> over a file of the image. A missing target gets an empty placeholder to mount on. */
static void cover(const char *target, const char *name, struct buffer *text) {
    char source[100];
    struct stat st;
    snprintf(source, sizeof source, "/run/banger/%s", name);
    write_file(source, buffer_string(text), text->len);
    buffer_free(text);
    if (is_mount_point(target)) return; /* done before, or the image keeps it under /run */
    if (stat(target, &st) < 0) {
        struct buffer again = {0};
        buffer_read_file(&again, source, 65536);
        bool filled = fill_dangling(target, buffer_string(&again), again.len);
        buffer_free(&again);
        if (filled) return;
        int fd = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0) close(fd);
    }
    if (mount(source, target, NULL, MS_BIND, NULL) < 0) log_line("cannot lay %s over %s: %s", source, target, strerror(errno));
}

static void cover_hosts(const char *hostname) {
    struct buffer text = {0};
    buffer_printf(&text, "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n::1\tlocalhost ip6-localhost ip6-loopback\n", hostname);
    buffer_text(&text, "ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    cover("/etc/hosts", "hosts", &text);
}

static void add_words(struct buffer *out, const struct json *list, const char *before, const char *after) {
    for (const struct json *item = list ? list->child : NULL; item; item = item->next)
        if (item->kind == JSON_STRING) buffer_printf(out, "%s%s%s", before, item->text, after);
}

static void cover_resolver(const struct json *network) {
    const struct json *dns = json_get(network, "dns"), *search = json_get(network, "search");
    struct buffer text = {0}, resolved = {0};
    if (json_count(search)) {
        buffer_text(&text, "search");
        add_words(&text, search, " ", "");
        buffer_text(&text, "\n");
    }
    add_words(&text, dns, "nameserver ", "\n");
    cover("/etc/resolv.conf", "resolv.conf", &text);
    if (!agent.has_systemd) return;
    /* systemd-resolved replaces the file it points resolv.conf at: tell it the same. */
    buffer_text(&resolved, "[Resolve]\nDNS=");
    add_words(&resolved, dns, "", " ");
    buffer_text(&resolved, "\nDomains=");
    add_words(&resolved, search, "", " ");
    buffer_text(&resolved, "\n");
    write_text("/run/systemd/resolved.conf.d/banger.conf", buffer_string(&resolved));
    buffer_free(&resolved);
}

/* The interface is ready: every service that would configure it again, or wait for it, is told to leave it alone. */
static void quiet_network_services(const char *mac) {
    struct buffer text = {0};
    if (agent.has_systemd) {
        buffer_printf(&text, "[Match]\nMACAddress=%s\n\n[Link]\nUnmanaged=yes\n", mac);
        write_text("/run/systemd/network/00-banger.network", buffer_string(&text));
        link_to_null("/run/systemd/system/systemd-networkd-wait-online.service");
        buffer_clear(&text);
    }
    buffer_printf(&text, "[keyfile]\nunmanaged-devices=mac:%s\n", mac);
    write_text("/run/NetworkManager/conf.d/00-banger.conf", buffer_string(&text));
    buffer_clear(&text);
    struct stat st;
    if (stat("/etc/network/interfaces", &st) < 0) return;
    buffer_text(&text, "auto lo\niface lo inet loopback\n");
    cover("/etc/network/interfaces", "interfaces", &text);
}

static void quiet_services(void) {
    static const char *masked[] = {"cloud-init.target", "cloud-init-local.service", "cloud-init.service", "cloud-init-network.service", "cloud-config.service", "cloud-final.service", "systemd-machine-id-commit.service"};
    char path[200];
    write_text("/run/cloud-init/disabled", "");
    if (!agent.has_systemd) return;
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        snprintf(path, sizeof path, "/run/systemd/system/%s", masked[i]);
        link_to_null(path);
    }
    link_to_null("/run/systemd/system-generators/cloud-init-generator");
}

void overlay_apply(const struct json *config) {
    const char *hostname = json_text(config, "hostname", NULL), *id = json_text(config, "machine_id", NULL);
    const struct json *network = json_get(config, "network");
    struct buffer text = {0};
    mkdir("/run/banger", 0755);
    if (hostname) {
        buffer_printf(&text, "%s\n", hostname);
        cover("/etc/hostname", "hostname", &text);
        cover_hosts(hostname);
    }
    if (id) {
        buffer_printf(&text, "%s\n", id);
        cover("/etc/machine-id", "machine-id", &text);
    }
    buffer_text(&text, "# The disks of this machine are mounted before its init starts.\n");
    cover("/etc/fstab", "fstab", &text);
    quiet_services();
    if (json_text(network, "mac", NULL)) {
        cover_resolver(network);
        quiet_network_services(json_text(network, "mac", ""));
    }
}
