/* Starting a child process for a stream: a program of the guest, or a piece of the agent itself. */
#ifndef BANGER_PROCESS_H
#define BANGER_PROCESS_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "json.h"

/* Runs in the child, with stdin and stdout joined to the stream; returns the exit code. Until process_started it may
 * refuse with process_refuse. */
typedef int worker(const struct json *request);

struct program {
    worker *run;
    bool is_call; /* what it prints is the RESULT; when it fails, the message of the ERROR */
    bool is_tty, detached;
    int rows, cols;
    uid_t terminal_owner;
};

/* The process, or 0: then the stream got its ERROR. */
pid_t process_start(uint32_t id, const struct json *request, const struct program *program);

/* In the child only. code is one of the protocol's error codes, NULL to choose by errno value. */
void process_refuse(const char *code, int error, const char *what) __attribute__((noreturn));
/* accept: the JSON of the ACCEPT frame, NULL for the default one. */
void process_started(const char *accept);
#endif
