#include "stream.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "loop.h"

static struct stream *streams[STREAM_LIMIT];
/* Processes whose stream is gone: SIGHUP was sent, SIGKILL follows. */
static struct {
    pid_t pid;
    int64_t kill_at;
} condemned[2 * STREAM_LIMIT];
static bool leaving;
/* Freed at the end of the round: its handlers may still be called in this one. */
static struct stream *graveyard;

struct stream *stream_make(uint32_t id) {
    for (int i = 0; i < STREAM_LIMIT; i++) {
        if (streams[i]) continue;
        struct stream *s = calloc(1, sizeof *s);
        if (!s) return NULL;
        s->id = id;
        s->status_fd = s->in_fd = s->out_fd[0] = s->out_fd[1] = -1;
        s->window_in = s->window_out = STREAM_WINDOW;
        return streams[i] = s;
    }
    return NULL;
}

struct stream *stream_find(uint32_t id) {
    for (int i = 0; i < STREAM_LIMIT; i++)
        if (streams[i] && streams[i]->id == id) return streams[i];
    return NULL;
}

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

void stream_free(struct stream *s) {
    for (int i = 0; i < STREAM_LIMIT; i++)
        if (streams[i] == s) streams[i] = NULL;
    close_fd(&s->status_fd);
    close_fd(&s->in_fd);
    close_fd(&s->out_fd[0]);
    close_fd(&s->out_fd[1]);
    buffer_free(&s->status);
    buffer_free(&s->input);
    buffer_free(&s->result);
    s->next_dead = graveyard;
    graveyard = s;
}

static void empty_graveyard(void) {
    while (graveyard) {
        struct stream *s = graveyard;
        graveyard = s->next_dead;
        free(s);
    }
}

static bool is_gone(pid_t group) { return kill(-group, 0) < 0 && errno == ESRCH; }

/* Of a reaped leader. Its number is nobody else's while one of its group lives; the last one's end is not told, so the
 * group is looked after in each round, and once it is gone the number must not be used again. */
static void watch_group(struct stream *s) {
    if (s->exited && s->group > 0 && is_gone(s->group)) s->group = 0;
}

static void condemn(pid_t pid) {
    kill(-pid, SIGHUP);
    kill(-pid, SIGCONT);
    for (size_t i = 0; i < sizeof condemned / sizeof *condemned; i++) {
        if (condemned[i].pid) continue;
        condemned[i].pid = pid;
        condemned[i].kill_at = now_ms() + STREAM_KILL_MS;
        return;
    }
    kill(-pid, SIGKILL);
}

void stream_drop(struct stream *s) {
    /* The signal first: a process must not take the closing pipe for a regular end of its input. */
    watch_group(s);
    if (s->group > 0 && !s->detached) condemn(s->group);
    stream_free(s);
}

/* The host leaves a terminal and the process goes on: what it prints from now on is read and thrown away. */
static void leave(struct stream *s) {
    s->id = 0; /* a number that no host uses */
    s->window_out = STREAM_WINDOW;
}

void stream_drop_all(void) {
    for (int i = 0; i < STREAM_LIMIT; i++)
        if (streams[i] && streams[i]->id) stream_drop(streams[i]);
}

void stream_exit_when_dropped(void) { leaving = true; }

void stream_child_exited(pid_t pid, int status) {
    for (int i = 0; i < STREAM_LIMIT; i++) {
        struct stream *s = streams[i];
        if (!s || s->pid != pid || s->exited) continue;
        s->exited = true;
        s->wait_status = status;
        s->grace_at = now_ms() + STREAM_GRACE_MS;
        s->retry_at = 0;
        watch_group(s);
        for (int n = 0; n < 2; n++) {
            int waiting = 0;
            if (s->out_fd[n] >= 0 && ioctl(s->out_fd[n], FIONREAD, &waiting) == 0) s->drain[n] = (size_t)waiting;
        }
    }
}

static void give_credit(struct stream *s, int64_t amount) {
    s->owed += amount;
    if (s->owed < STREAM_GRANT || !s->id) return;
    unsigned char payload[4];
    for (int i = 0; i < 4; i++) payload[i] = (unsigned char)(s->owed >> (24 - 8 * i));
    channel_send(FRAME_CREDIT, s->id, 0, payload, sizeof payload);
    s->window_in += s->owed;
    s->owed = 0;
}

static void end_input(struct stream *s) {
    if (s->is_tty && s->in_fd >= 0) {
        static const char end_of_transmission = 4;
        if (write(s->in_fd, &end_of_transmission, 1) < 0) log_line("cannot end the input of stream %u", s->id);
    }
    close_fd(&s->in_fd);
}

static void write_input(void *owner, int fd, short revents) {
    struct stream *s = owner;
    (void)revents;
    if (fd != s->in_fd) return;
    ssize_t n = write(fd, buffer_front(&s->input), s->input.len);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) { /* nobody reads any more: swallow, so that the host does not wait for credit */
        n = (ssize_t)s->input.len;
        close_fd(&s->in_fd);
    }
    buffer_consume(&s->input, (size_t)n);
    give_credit(s, n);
    if (s->input.len == 0 && s->input_ended) end_input(s);
}

static void take_data(struct stream *s, const struct frame *frame) {
    int64_t cost = frame->length < STREAM_MIN_COST ? STREAM_MIN_COST : frame->length;
    if (cost > s->window_in || s->input_ended) {
        channel_error(s->id, "protocol", s->input_ended ? "data after the end of the input" : "more data than the credit allows");
        stream_drop(s);
        return;
    }
    s->window_in -= cost;
    if (s->in_fd < 0) {
        give_credit(s, cost);
        return;
    }
    buffer_append(&s->input, frame->payload, frame->length);
    if (cost > frame->length) s->owed += cost - frame->length;
}

static void send_signal(struct stream *s, int number) {
    pid_t group = s->pid, foreground = 0;
    if (s->is_tty && s->out_fd[0] >= 0 && ioctl(s->out_fd[0], TIOCGPGRP, &foreground) == 0 && foreground > 1)
        group = foreground;
    if (!s->exited && number > 0 && number <= 64) kill(-group, number);
}

static void resize(struct stream *s, const unsigned char *payload) {
    struct winsize size = {
        .ws_row = (unsigned short)(payload[0] << 8 | payload[1]), .ws_col = (unsigned short)(payload[2] << 8 | payload[3])};
    if (s->is_tty && s->out_fd[0] >= 0) ioctl(s->out_fd[0], TIOCSWINSZ, &size);
}

static void take_credit(struct stream *s, uint32_t amount) {
    s->window_out += amount;
    if (s->window_out > STREAM_WINDOW) s->window_out = STREAM_WINDOW;
}

void stream_take_frame(const struct frame *frame) {
    struct stream *s = frame->stream ? stream_find(frame->stream) : NULL;
    if (!s) return; /* it ended a moment ago */
    switch (frame->type) {
    case FRAME_DATA: take_data(s, frame); break;
    case FRAME_EOF:
        s->input_ended = true;
        if (s->input.len == 0) end_input(s);
        break;
    case FRAME_CREDIT: take_credit(s, frame_u32(frame->payload)); break;
    case FRAME_SIGNAL: send_signal(s, frame->payload[0]); break;
    case FRAME_RESIZE: resize(s, frame->payload); break;
    case FRAME_CLOSE:
        if (frame->flags & FRAME_LEAVE && s->is_tty && s->accepted)
            leave(s);
        else
            stream_drop(s);
        break;
    default: break;
    }
}

void stream_collect(void) {
    for (int i = 0; i < STREAM_LIMIT; i++) {
        struct stream *s = streams[i];
        if (!s) continue;
        watch_group(s);
        if (s->exited && s->group > 0) loop_wake_at(now_ms() + STREAM_GROUP_MS);
        if (s->input.len) loop_watch(s->in_fd, POLLOUT, write_input, s);
        output_collect(s);
    }
    for (size_t i = 0; i < sizeof condemned / sizeof *condemned; i++)
        if (condemned[i].pid) loop_wake_at(now_ms() + STREAM_GROUP_MS);
}

static bool kill_overdue(void) {
    bool waiting = false;
    for (size_t i = 0; i < sizeof condemned / sizeof *condemned; i++) {
        pid_t pid = condemned[i].pid;
        if (!pid) continue;
        if (is_gone(pid)) {
            condemned[i].pid = 0; /* the number may be someone else's soon */
        } else if (now_ms() >= condemned[i].kill_at) {
            kill(-pid, SIGKILL);
            condemned[i].pid = 0;
        } else {
            waiting = true;
        }
    }
    return waiting;
}

void stream_run_deadlines(void) {
    for (int i = 0; i < STREAM_LIMIT; i++)
        if (streams[i] && output_finish(streams[i])) stream_free(streams[i]);
    empty_graveyard();
    if (!kill_overdue() && leaving) exit(0);
}
