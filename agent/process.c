#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "loop.h"
#include "pty.h"
#include "stream.h"

static int status_fd = -1; /* in the child */

static void put_status(const char *text, size_t len) {
    if (write(status_fd, text, len) < 0) _exit(126);
}

void process_refuse(const char *code, int error, const char *what) {
    struct buffer text = {0};
    if (!code) code = error == ENOENT || error == ENOTDIR ? "not-found" : error == EACCES || error == EPERM ? "permission" : "failed";
    buffer_printf(&text, "E%s\n%s%s%s", code, what, error ? ": " : "", error ? strerror(error) : "");
    put_status(buffer_front(&text), text.len < 4000 ? text.len : 4000);
    _exit(127);
}

void process_started(const char *accept) {
    if (accept) {
        put_status("A", 1);
        put_status(accept, strlen(accept));
    }
    close(status_fd);
    status_fd = -1;
}

struct plumbing {
    int status[2], in[2], out[2], err[2];
    int master;
    char pty_path[64];
};

static void close_pair(int pair[2]) {
    for (int n = 0; n < 2; n++)
        if (pair[n] >= 0) close(pair[n]);
}

static void close_plumbing(struct plumbing *p) {
    close_pair(p->status);
    close_pair(p->in);
    close_pair(p->out);
    close_pair(p->err);
    if (p->master >= 0) close(p->master);
}

static bool make_plumbing(struct plumbing *p, const struct program *program) {
    *p = (struct plumbing){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, -1, ""};
    if (pipe2(p->status, O_CLOEXEC) < 0) return false;
    if (program->detached) return true;
    if (program->is_tty) {
        p->master = pty_open(program->rows, program->cols, p->pty_path, sizeof p->pty_path);
        return p->master >= 0;
    }
    return pipe2(p->in, O_CLOEXEC) == 0 && pipe2(p->out, O_CLOEXEC) == 0 && pipe2(p->err, O_CLOEXEC) == 0;
}

static void join_standard(const struct plumbing *p, const struct program *program) {
    int ends[3] = {p->in[0], p->out[1], p->err[1]};
    if (program->is_tty) return;
    for (int n = 0; n < 3; n++) {
        int fd = ends[n] >= 0 ? ends[n] : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || dup2(fd, n) < 0) process_refuse("failed", errno, "cannot join the pipes");
    }
}

static void reset_oom_score(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0) return;
    if (write(fd, "0", 1) < 0) log_line("cannot reset oom_score_adj");
    close(fd);
}

/* Most are close-on-exec, but a worker does not exec. */
static void close_others(void) {
    unsigned status = (unsigned)status_fd;
    bool low = status == 3 || syscall(SYS_close_range, 3u, status - 1, 0u) == 0;
    if (low && syscall(SYS_close_range, status + 1, ~0u, 0u) == 0) return;
    for (int fd = 3; fd < 4096; fd++) /* a kernel older than 5.9 */
        if (fd != status_fd) close(fd);
}

static void run_child(const struct plumbing *p, const struct json *request, const struct program *program) {
    status_fd = p->status[1];
    loop_release_signals();
    setsid();
    reset_oom_score();
    /* The pipes may carry the numbers 0 to 2 when the agent itself was started without them. */
    if (status_fd < 3) status_fd = fcntl(status_fd, F_DUPFD_CLOEXEC, 3);
    join_standard(p, program);
    if (program->is_tty && pty_attach(p->pty_path, program->terminal_owner) < 0)
        process_refuse("failed", errno, "cannot open a terminal");
    close_others();
    if (program->is_call) process_started(NULL);
    _exit(program->run(request));
}

static int keep(int *end) {
    int fd = *end;
    *end = -1;
    if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return fd;
}

static void keep_ends(struct stream *s, struct plumbing *p, const struct program *program) {
    s->status_fd = keep(&p->status[0]);
    s->in_fd = keep(&p->in[1]);
    s->out_fd[0] = keep(&p->out[0]);
    s->out_fd[1] = keep(&p->err[0]);
    if (program->is_tty) {
        s->out_fd[0] = keep(&p->master);
        s->in_fd = fcntl(s->out_fd[0], F_DUPFD_CLOEXEC, 3);
    }
    s->is_tty = program->is_tty;
    s->is_call = program->is_call;
    s->detached = program->detached;
}

pid_t process_start(uint32_t id, const struct json *request, const struct program *program) {
    struct plumbing p;
    struct stream *s = stream_make(id);
    if (!s) {
        channel_error(id, "limit", "too many streams");
        return 0;
    }
    pid_t pid = -1;
    if (make_plumbing(&p, program) && (pid = fork()) == 0) run_child(&p, request, program);
    if (pid < 0) {
        char text[200];
        snprintf(text, sizeof text, "cannot start a process: %s", strerror(errno));
        channel_error(id, "failed", text);
        close_plumbing(&p);
        stream_free(s);
        return 0;
    }
    s->pid = s->group = pid;
    keep_ends(s, &p, program);
    close_plumbing(&p);
    return pid;
}
