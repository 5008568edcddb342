#include "power.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "frame.h"
#include "loop.h"

/* systemd counts from glibc's SIGRTMIN, which is 34 whatever this program was built with. */
enum { SYSTEMD_POWEROFF = 34 + 4, SYSTEMD_REBOOT = 34 + 5, TERM_GRACE_MS = 1000, DEAF_MS = 200, AGAIN_MS = 5000, FORCE_US = 100000 };

static int64_t off_at;   /* agent is init: everyone got SIGTERM, off at this moment */
static int64_t again_at; /* systemd: a signal sent before it listens is lost, so it is sent again */

/* A machine without a power switch ends by a reset: its VMM says so on the kernel's command line. */
static bool ends_by_reset(void) {
    struct buffer line = {0};
    buffer_read_file(&line, "/proc/cmdline", 4096);
    bool found = strstr(buffer_string(&line), "banger.end=reset") != NULL;
    buffer_free(&line);
    return found;
}

static bool remount_readonly(void) {
    char line[1024], source[256], target[256], type[64];
    bool all = true;
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%255s %255s %63s", source, target, type) != 3 || strncmp(source, "/dev/", 5) != 0) continue;
        all = mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0 && all;
    }
    if (file) fclose(file);
    return mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0 && all;
}

/* What is still open for writing does not hinder the kernel's own remount; it works in the background. */
static void remount_by_force(void) {
    int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, "u", 1) == 1) usleep(FORCE_US);
    close(fd);
}

void power_off_now(void) {
    sync();
    if (!remount_readonly()) remount_by_force();
    if (!ends_by_reset()) reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT);
    for (;;) pause();
}

static const char *find_program(const char *name) {
    static const char *folders[] = {"/sbin", "/usr/sbin", "/bin", "/usr/bin"};
    static char path[40];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], name);
        if (access(path, X_OK) == 0) return path;
    }
    return NULL;
}

static bool run_program(const char *path) {
    pid_t pid = fork();
    if (pid != 0) return pid > 0;
    loop_release_signals();
    setsid();
    execl(path, strrchr(path, '/') + 1, (char *)NULL);
    _exit(127);
}

/* systemd blocks the signals that it takes from a descriptor; one that is blocked waits there for it. */
static bool hears_signal(int number) {
    char line[256];
    unsigned long long blocked = 0;
    FILE *file = fopen("/proc/1/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "SigBlk: %llx", &blocked) == 1) break;
    if (file) fclose(file);
    return blocked >> (number - 1) & 1;
}

static void ask_systemd(void) {
    int number = ends_by_reset() ? SYSTEMD_REBOOT : SYSTEMD_POWEROFF;
    again_at = now_ms() + (hears_signal(number) ? AGAIN_MS : DEAF_MS);
    kill(1, number);
}

static bool has_prefix(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

/* Mounts that nothing is written to through: the agent's own, and the credentials of services that have long run. An init
 * would start an umount for each, and fail at the modules, which udev holds. They go when their last user does. */
static void detach_own_mounts(void) {
    static const char *prefixes[] = {"/usr/lib/modules", "/lib/modules", "/run/credentials/systemd-"};
    static const char *files[] = {"/etc/hostname", "/etc/hosts", "/etc/machine-id", "/etc/fstab", "/etc/resolv.conf", "/etc/network/interfaces"};
    char target[256], type[64];
    struct buffer mounts = {0}; /* read to its end first: the table changes under what follows */
    buffer_read_file(&mounts, "/proc/self/mounts", 1 << 20);
    for (char *line = strtok(buffer_string(&mounts), "\n"); line; line = strtok(NULL, "\n")) {
        bool ours = false;
        if (sscanf(line, "%*s %255s %63s", target, type) != 2) continue;
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) ours = ours || has_prefix(target, prefixes[i]);
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) ours = ours || (strcmp(target, files[i]) == 0 && strcmp(type, "tmpfs") == 0);
        if (ours) umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    buffer_free(&mounts);
}

/* In a process of its own: what is not written yet may take long, and the channel goes on meanwhile. */
static void in_child(void (*work)(void)) {
    if (fork() != 0) return;
    setsid();
    work();
    _exit(0);
}

static const char *ask_init(void) {
    bool reset = ends_by_reset();
    const char *path = find_program(reset ? "reboot" : "poweroff");
    if (agent.is_init) {
        kill(-1, SIGTERM);
        off_at = now_ms() + TERM_GRACE_MS;
        return "agent";
    }
    if (agent.has_systemd) {
        ask_systemd();
        return "systemd";
    }
    if (path && run_program(path)) return path;
    kill(1, reset ? SIGTERM : SIGUSR2); /* busybox: reboot, power off; sinit: as the second */
    return reset ? "SIGTERM" : "SIGUSR2";
}

void power_request(uint32_t id, const struct json *request) {
    char text[100];
    if (agent.log_fd < 0) { /* not in a guest: a test */
        channel_error(id, "failed", "this agent does not run in a guest");
        return;
    }
    if (json_true(request, "now")) {
        channel_send_text(FRAME_RESULT, id, "{\"through\":\"kernel\"}");
        in_child(power_off_now);
        return;
    }
    in_child(sync);
    if (!agent.is_init) detach_own_mounts();
    snprintf(text, sizeof text, "{\"through\":\"%s\"}", ask_init());
    channel_send_text(FRAME_RESULT, id, text);
}

void power_collect(void) {
    if (off_at) loop_wake_at(off_at);
    if (again_at) loop_wake_at(again_at);
}

void power_run_deadlines(void) {
    if (again_at && now_ms() >= again_at) ask_systemd();
    if (!off_at) return;
    bool alone = kill(-1, 0) < 0 && errno == ESRCH;
    if (!alone && now_ms() < off_at) return;
    kill(-1, SIGKILL);
    power_off_now();
}
