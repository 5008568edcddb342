/* Whom a dropped stream signals: its own process group, and nobody once that is gone. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "check.h"

static int test_kill(pid_t pid, int number);

#define kill test_kill
#include "../stream.c"
#undef kill

static int64_t clock_ms = 1000, wake;
static bool alive;
static int signals;

static int test_kill(pid_t pid, int number) {
    CHECK(pid == -50);
    if (!alive) errno = ESRCH;
    if (number == 0 || !alive) return alive ? 0 : -1;
    signals++;
    return 0;
}

void log_line(const char *format, ...) { CHECK(!format); }
int64_t now_ms(void) { return clock_ms; }
void loop_watch(int fd, short events, loop_handler *handle, void *owner) { CHECK(fd < 0 || (events && handle && owner)); }
void loop_wake_at(int64_t when) { wake = when; }
void channel_send(uint8_t type, uint32_t stream, uint8_t flags, const void *payload, size_t len) { CHECK(type && stream && !flags && payload && len); }
void channel_error(uint32_t stream, const char *code, const char *message) { CHECK(stream && code && message); }
void output_collect(struct stream *s) { CHECK(s); }
bool output_finish(struct stream *s) { return !s; }

static void step(int64_t ms) {
    clock_ms += ms;
    wake = 0;
    stream_run_deadlines();
    stream_collect();
}

static struct stream *start(bool group_lives) {
    struct stream *s = stream_make(1);
    s->pid = s->group = 50;
    alive = group_lives;
    signals = 0;
    return s;
}

int main(void) {
    struct stream *s = start(true);
    stream_drop(s);
    CHECK(signals == 2); /* SIGHUP, SIGCONT */
    step(1999);
    CHECK(signals == 2 && wake);
    step(1);
    CHECK(signals == 3 && !wake);

    s = start(false);
    stream_child_exited(50, 0);
    alive = true; /* as somebody else's */
    stream_drop(s);
    step(3000);
    CHECK(signals == 0 && !wake);

    s = start(true);
    stream_child_exited(50, 0);
    step(100);
    CHECK(wake > clock_ms); /* nobody tells the end of the rest of the group */
    alive = false;
    step(STREAM_GROUP_MS);
    alive = true;
    stream_drop(s);
    step(3000);
    CHECK(signals == 0);

    s = start(true);
    stream_child_exited(50, 0);
    stream_drop(s);
    CHECK(signals == 2);
    alive = false;
    step(STREAM_GROUP_MS);
    alive = true;
    step(3000);
    CHECK(signals == 2 && !wake);
    PASSED();
    return 0;
}
