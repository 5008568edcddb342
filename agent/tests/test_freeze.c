/* The thaw deadline against a worker that is still in sync(). */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/types.h>

#include "check.h"

static int test_kill(pid_t pid, int number);
static int test_ioctl(int fd, unsigned long request, int argument);
static FILE *test_fopen(const char *path, const char *mode);

#define kill test_kill
#define ioctl test_ioctl
#define fopen test_fopen
#include "../freeze.c"
#undef kill
#undef ioctl
#undef fopen

static int64_t clock_ms = 1000, wake;
static int kills, thaws, answers, errors;
static pid_t next_pid = 50;

static FILE *test_fopen(const char *path, const char *mode) {
    static char mounts[] = "/dev/vda / ext4 rw,noatime 0 0\nproc /proc proc rw 0 0\n";
    CHECK(path && mode);
    return fmemopen(mounts, sizeof mounts - 1, "r");
}

static int test_kill(pid_t pid, int number) {
    CHECK(pid == 50 && number == SIGKILL);
    return kills++ * 0;
}

static int test_ioctl(int fd, unsigned long request, int argument) {
    CHECK(fd >= 0 && request == FITHAW && argument == 0);
    return thaws++ * 0;
}

int64_t now_ms(void) { return clock_ms; }
void loop_wake_at(int64_t when) { wake = when; }
void channel_error(uint32_t stream, const char *code, const char *message) { errors += stream && code && message; }
void channel_send_text(uint8_t type, uint32_t stream, const char *json) { answers += type == FRAME_RESULT && stream && json; }

pid_t process_start(uint32_t id, const struct json *request, const struct program *program) {
    CHECK(id && !request && program->is_call);
    return next_pid;
}

static void step(int64_t ms) {
    clock_ms += ms;
    wake = 0;
    freeze_run_deadlines();
    freeze_collect();
}

int main(void) {
    freeze_request(1, NULL);
    step(29999);
    CHECK(!thaws && wake == 31000);
    freeze_request(2, NULL);
    CHECK(errors == 1);
    step(1);
    CHECK(thaws == 1 && kills == 1 && !wake); /* no spinning while the worker dies */
    step(5000);
    CHECK(thaws == 1);
    freeze_child_exited(49);
    freeze_child_exited(50);
    step(0);
    CHECK(thaws == 2 && kills == 1 && !wake);

    freeze_request(3, NULL); /* the usual case: frozen, then thawed by the host */
    freeze_child_exited(50);
    step(100);
    thaw_request(4, NULL);
    step(60000);
    CHECK(thaws == 3 && kills == 1 && answers == 1 && !wake);

    freeze_request(5, NULL); /* the host gave up and thaws while the worker is under way */
    thaw_request(6, NULL);
    CHECK(kills == 2 && thaws == 4 && answers == 2);
    freeze_child_exited(50);
    step(0);
    CHECK(thaws == 5 && !wake);

    next_pid = 0;
    freeze_request(7, NULL);
    step(60000);
    CHECK(thaws == 5 && !wake);
    PASSED();
    return 0;
}
