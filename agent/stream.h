/* Streams: a child process in the guest joined to a stream number, with credit windows in both directions. */
#ifndef BANGER_STREAM_H
#define BANGER_STREAM_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "buffer.h"
#include "frame.h"

enum {
    STREAM_LIMIT = 256,
    STREAM_WINDOW = 256 * 1024,
    STREAM_MIN_COST = 64,     /* a DATA frame costs at least this much window */
    STREAM_GRANT = 64 * 1024, /* give credit back in steps of this */
    STREAM_GRACE_MS = 100,    /* how long grandchildren may hold the pipes after the process ended */
    STREAM_KILL_MS = 2000,    /* from SIGHUP to SIGKILL */
    STREAM_GROUP_MS = 500,    /* how often a group without its leader is looked for */
    CALL_OUTPUT_LIMIT = FRAME_MAX,
};

struct stream {
    uint32_t id;   /* 0: the host has left a terminal whose process goes on */
    bool is_call;  /* one RESULT instead of ACCEPT, DATA, EXIT */
    bool is_tty;
    bool accepted, exited, detached;
    pid_t pid;
    pid_t group; /* the same number, 0 once all of the process group are gone */
    int wait_status;
    int status_fd;  /* the child says here why it could not start; closed when it did */
    int in_fd;      /* -1 when closed */
    int out_fd[2];  /* stdout (or the terminal), stderr */
    size_t drain[2]; /* bytes still owed from before the process ended */
    int64_t grace_at;
    int64_t retry_at; /* a terminal nobody has open is not polled before this */
    struct buffer status, input, result;
    bool input_ended;
    int64_t window_in;  /* what the host may still send */
    int64_t owed;       /* credit not yet given back */
    int64_t window_out; /* what may still be sent to the host */
    struct stream *next_dead;
};

/* NULL when there is no room. */
struct stream *stream_make(uint32_t id);
struct stream *stream_find(uint32_t id);
void stream_free(struct stream *s);

void stream_take_frame(const struct frame *frame);
void stream_child_exited(pid_t pid, int status);
void stream_drop(struct stream *s);
void stream_drop_all(void);
/* Test mode: leave once the last dropped process is gone. */
void stream_exit_when_dropped(void);

void stream_collect(void);
void stream_run_deadlines(void);
/* The output side, in output.c. */
void output_collect(struct stream *s);
bool output_finish(struct stream *s);
#endif
