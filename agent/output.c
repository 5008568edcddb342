/* From a child process to the host: how it started, what it wrote, how it ended. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "json.h"
#include "loop.h"
#include "stream.h"

enum { TTY_RETRY_MS = 50 };

static void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* The child wrote "E<code>\n<message>" or "A<accept JSON>" or nothing, and closed its end. */
static void judge_start(struct stream *s) {
    char *text = buffer_string(&s->status);
    close_fd(&s->status_fd);
    if (text[0] == 'E') {
        char *message = strchr(text, '\n');
        if (message) *message++ = 0;
        channel_error(s->id, text + 1, message ? message : text + 1);
        stream_free(s); /* the child has ended or is about to */
        return;
    }
    s->accepted = true;
    if (s->is_call) return;
    char plain[64];
    snprintf(plain, sizeof plain, "{\"pid\":%d}", (int)s->pid);
    channel_send_text(FRAME_ACCEPT, s->id, text[0] == 'A' ? text + 1 : plain);
    if (s->detached) {
        channel_send_text(FRAME_EXIT, s->id, "{\"code\":0}");
        stream_free(s);
    }
}

static void read_status(void *owner, int fd, short revents) {
    struct stream *s = owner;
    char chunk[512];
    (void)revents;
    if (fd != s->status_fd) return;
    ssize_t n = read(fd, chunk, sizeof chunk);
    if (n > 0 && s->status.len < 4096) buffer_append(&s->status, chunk, (size_t)n);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) judge_start(s);
}

static void end_output(struct stream *s, int which) {
    if (which == 0 && s->is_tty && s->in_fd == s->out_fd[0]) s->in_fd = -1;
    close_fd(&s->out_fd[which]);
    s->drain[which] = 0;
    if (!s->is_call && s->id) channel_send(FRAME_EOF, s->id, (uint8_t)(which + 1), NULL, 0);
}

static void send_output(struct stream *s, int which, const char *data, size_t len) {
    s->drain[which] = s->drain[which] > len ? s->drain[which] - len : 0;
    if (s->is_call) {
        if (s->result.len + len <= CALL_OUTPUT_LIMIT) buffer_append(&s->result, data, len);
        return;
    }
    if (!s->id) return;
    s->window_out -= len < STREAM_MIN_COST ? STREAM_MIN_COST : (int64_t)len;
    channel_send(FRAME_DATA, s->id, (uint8_t)(which + 1), data, len);
}

static void read_output(void *owner, int fd, short revents) {
    struct stream *s = owner;
    static char chunk[FRAME_MAX];
    int which = fd == s->out_fd[0] ? 0 : fd == s->out_fd[1] ? 1 : -1;
    (void)revents;
    if (which < 0 || s->window_out < STREAM_MIN_COST) return;
    size_t room = s->window_out < FRAME_MAX ? (size_t)s->window_out : FRAME_MAX;
    ssize_t n = read(fd, chunk, room);
    if (n > 0)
        send_output(s, which, chunk, (size_t)n);
    else if (n < 0 && errno == EIO && s->is_tty && !s->exited)
        s->retry_at = now_ms() + TTY_RETRY_MS; /* nobody has the terminal open; closing it now would kill with SIGHUP */
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        end_output(s, which);
}

void output_collect(struct stream *s) {
    loop_watch(s->status_fd, POLLIN, read_status, s);
    bool may_send = s->accepted && now_ms() >= s->retry_at && s->window_out >= STREAM_MIN_COST && (!s->id || !channel_is_congested());
    for (int n = 0; n < 2 && may_send; n++) loop_watch(s->out_fd[n], POLLIN, read_output, s);
    if (s->exited && may_send) loop_wake_at(s->grace_at);
    if (now_ms() < s->retry_at) loop_wake_at(s->retry_at);
}

/* After the end of the process only what it wrote itself must come; whoever else holds the pipe gets a short grace. */
static bool is_drained(const struct stream *s) {
    if (s->out_fd[0] < 0 && s->out_fd[1] < 0) return true;
    return now_ms() >= s->grace_at && s->drain[0] == 0 && s->drain[1] == 0 && s->window_out >= STREAM_MIN_COST;
}

static void send_result(struct stream *s) {
    bool good = WIFEXITED(s->wait_status) && WEXITSTATUS(s->wait_status) == 0;
    if (good)
        channel_send(FRAME_RESULT, s->id, 0, buffer_front(&s->result), s->result.len);
    else
        channel_error(s->id, "failed", s->result.len ? buffer_string(&s->result) : "the agent's worker ended early");
}

static void send_exit(struct stream *s) {
    char text[64];
    for (int n = 0; n < 2; n++)
        if (s->out_fd[n] >= 0) end_output(s, n);
    if (WIFSIGNALED(s->wait_status))
        snprintf(text, sizeof text, "{\"signal\":%d}", WTERMSIG(s->wait_status));
    else
        snprintf(text, sizeof text, "{\"code\":%d}", WEXITSTATUS(s->wait_status));
    if (s->id) channel_send_text(FRAME_EXIT, s->id, text);
}

bool output_finish(struct stream *s) {
    if (!s->exited || !s->accepted || !is_drained(s)) return false;
    if (s->is_call)
        send_result(s);
    else
        send_exit(s);
    return true;
}
