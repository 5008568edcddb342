#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"

static const struct {
    const char *name;
    unsigned long flag;
} flag_names[] = {
    {"ro", MS_RDONLY}, {"rw", 0}, {"defaults", 0}, {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV}, {"noexec", MS_NOEXEC},
    {"noatime", MS_NOATIME}, {"nodiratime", MS_NODIRATIME}, {"relatime", MS_RELATIME}, {"sync", MS_SYNCHRONOUS},
};

unsigned long mount_flags(const char *options, char *rest, int size) {
    unsigned long flags = 0;
    int used = 0;
    rest[0] = 0;
    while (options && *options) {
        size_t len = strcspn(options, ","), i = 0, count = sizeof flag_names / sizeof *flag_names;
        while (i < count && !(strlen(flag_names[i].name) == len && memcmp(flag_names[i].name, options, len) == 0)) i++;
        if (i < count)
            flags |= flag_names[i].flag;
        else if (used + (int)len + 2 < size)
            used += snprintf(rest + used, (size_t)(size - used), "%s%.*s", used ? "," : "", (int)len, options);
        options += len + (options[len] == ',');
    }
    return flags;
}

void mount_make_directory(const char *path, unsigned mode) {
    char part[400];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        mkdir(part, 0755);
    }
    mkdir(part, mode);
}

static void mount_one(const char *type, const char *target, unsigned long flags, const char *data) {
    mkdir(target, 0755);
    if (mount(type, target, type, flags, data) < 0 && errno != EBUSY) log_line("cannot mount %s on %s: %s", type, target, strerror(errno));
}

void mount_early(void) {
    umask(0);
    mount_one("devtmpfs", "/dev", MS_NOSUID, "mode=0755");
    mount_one("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mount_one("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    mkdir("/root.banger", 0755);
}

bool mount_switch_root(const char *new_root) {
    static const char *moved[] = {"dev", "proc", "sys"};
    if (chdir(new_root) < 0) return false;
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        char old[16];
        snprintf(old, sizeof old, "/%s", moved[i]);
        mkdir(moved[i], 0755);
        if (mount(old, moved[i], NULL, MS_MOVE, NULL) < 0) {
            log_line("cannot move %s into the root: %s", old, strerror(errno));
            return false;
        }
    }
    rmdir("/banger/modules");
    unlink("/init");
    return mount(".", "/", NULL, MS_MOVE, NULL) == 0 && chroot(".") == 0 && chdir("/") == 0;
}

void mount_run_time(void) {
    mount_one("tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
    mount_one("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=0620,gid=5,ptmxmode=0666");
    mount_one("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
    mount_one("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate,memory_recursiveprot");
    mkdir("/run/lock", 01777);
    static const char *links[][2] = {{"/proc/self/fd", "/dev/fd"}, {"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"}, {"/proc/self/fd/2", "/dev/stderr"}};
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST) log_line("cannot link %s", links[i][1]);
}
