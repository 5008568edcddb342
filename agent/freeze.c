#include "freeze.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "frame.h"
#include "loop.h"
#include "process.h"

enum { FREEZE_LIMIT = 16, FREEZE_DEFAULT_S = 30 };

static int64_t thaw_at;
static pid_t freezer;   /* the worker; 0 when nothing is being frozen */
static bool is_thawing; /* the worker was killed */
static char targets[FREEZE_LIMIT][256];

/* Writable file systems on disks, each device once. */
static int find_targets(void) {
    char line[1024], source[256], options[512], type[64], seen[FREEZE_LIMIT][256];
    int count = 0;
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file && count < FREEZE_LIMIT && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%255s %255s %63s %511s", source, targets[count], type, options) != 4) continue;
        if (strncmp(source, "/dev/", 5) != 0 || strncmp(options, "rw", 2) != 0) continue;
        bool again = false;
        for (int i = 0; i < count; i++) again = again || strcmp(seen[i], source) == 0;
        if (!again) memcpy(seen[count++], source, sizeof source);
    }
    if (file) fclose(file);
    return count;
}

static int apply(const char *target, unsigned long request) {
    int fd = open(target, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (fd < 0) return -1;
    int result = ioctl(fd, request, 0);
    close(fd);
    return result;
}

/* A worker may still be in sync() and freeze after this: killed, it does no more than the call it is in, and once it
 * is reaped the deadline, past by then, thaws what that call froze. */
static void thaw_all(void) {
    if (freezer) kill(freezer, SIGKILL);
    for (int i = find_targets(); i-- > 0;) apply(targets[i], FITHAW);
    thaw_at = freezer ? now_ms() : 0;
    is_thawing = freezer != 0;
}

static int run_freeze(const struct json *request) {
    (void)request;
    int count = find_targets();
    sync();
    for (int i = count; i-- > 0;) { /* the root, mounted first, freezes last */
        if (apply(targets[i], FIFREEZE) == 0 || errno == EBUSY || errno == EOPNOTSUPP) continue;
        int error = errno;
        for (int done = count; done-- > i;) apply(targets[done], FITHAW);
        printf("cannot freeze %s: %s", targets[i], strerror(error));
        fflush(stdout);
        return 1;
    }
    printf("{\"frozen\":%d}", count);
    fflush(stdout);
    return 0;
}

void freeze_request(uint32_t id, const struct json *request) {
    struct program program = {.run = run_freeze, .is_call = true};
    int64_t seconds = json_number(request, "timeout_s", FREEZE_DEFAULT_S);
    if (seconds < 1 || seconds > 600) seconds = FREEZE_DEFAULT_S;
    if (freezer) {
        channel_error(id, "limit", "another freeze is under way");
        return;
    }
    freezer = process_start(id, request, &program);
    if (freezer) thaw_at = now_ms() + seconds * 1000;
}

void freeze_child_exited(pid_t pid) {
    if (pid != freezer) return;
    freezer = 0;
    is_thawing = false;
}

void thaw_request(uint32_t id, const struct json *request) {
    (void)request;
    thaw_all();
    channel_send_text(FRAME_RESULT, id, "{}");
}

int freeze_sync(const struct json *request) {
    (void)request;
    sync();
    return write(1, "{}", 2) == 2 ? 0 : 1;
}

void freeze_collect(void) {
    if (thaw_at && !is_thawing) loop_wake_at(thaw_at);
}

void freeze_run_deadlines(void) {
    if (thaw_at && !is_thawing && now_ms() >= thaw_at) thaw_all();
}
