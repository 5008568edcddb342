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
enum { SYSTEMD_POWEROFF = 34 + 4, TERM_GRACE_MS = 1000, AGAIN_MS = 1000 };

static int64_t off_at;   /* agent is init: everyone got SIGTERM, off at this moment */
static int64_t again_at; /* systemd: a signal sent before it listens is lost, so it is sent again */

static void remount_readonly(void) {
    char line[1024], source[256], target[256], type[64];
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%255s %255s %63s", source, target, type) != 3 || strncmp(source, "/dev/", 5) != 0) continue;
        mount(NULL, target, NULL, MS_REMOUNT | MS_RDONLY, NULL);
    }
    if (file) fclose(file);
    mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

void power_off_now(void) {
    sync();
    remount_readonly();
    reboot(RB_POWER_OFF);
    reboot(RB_AUTOBOOT); /* a machine without a power switch ends by a reset */
    for (;;) pause();
}

static const char *find_poweroff(void) {
    static const char *paths[] = {"/sbin/poweroff", "/usr/sbin/poweroff", "/bin/poweroff", "/usr/bin/poweroff"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], X_OK) == 0) return paths[i];
    return NULL;
}

static bool run_poweroff(const char *path) {
    pid_t pid = fork();
    if (pid != 0) return pid > 0;
    loop_release_signals();
    setsid();
    execl(path, "poweroff", (char *)NULL);
    _exit(127);
}

static void ask_systemd(void) {
    kill(1, SYSTEMD_POWEROFF);
    again_at = now_ms() + AGAIN_MS;
}

static const char *ask_init(void) {
    const char *path = find_poweroff();
    if (agent.is_init) {
        kill(-1, SIGTERM);
        off_at = now_ms() + TERM_GRACE_MS;
        return "agent";
    }
    if (agent.has_systemd) {
        ask_systemd();
        return "systemd";
    }
    if (path && run_poweroff(path)) return path;
    kill(1, SIGUSR2); /* busybox and sinit: power off */
    return "SIGUSR2";
}

void power_request(uint32_t id, const struct json *request) {
    char text[100];
    (void)request;
    if (agent.log_fd < 0) { /* not in a guest: a test */
        channel_error(id, "failed", "this agent does not run in a guest");
        return;
    }
    sync();
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
