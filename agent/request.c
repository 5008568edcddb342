#include "request.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/time.h>

#include "agent.h"
#include "channel.h"
#include "exec.h"
#include "files.h"
#include "freeze.h"
#include "frame.h"
#include "identity.h"
#include "json.h"
#include "power.h"
#include "process.h"
#include "report.h"
#include "stream.h"

void request_describe(struct buffer *out) {
    static const char *names[] = {"booting", "ready", "failed"};
    struct buffer boot_id = {0};
    buffer_read_file(&boot_id, "/proc/sys/kernel/random/boot_id", 64);
    char *id = buffer_string(&boot_id);
    id[strcspn(id, "\n")] = 0;
    json_begin(out, '{');
    json_member_number(out, "protocol", PROTOCOL_VERSION);
    json_member(out, "version", BANGER_VERSION);
    json_member(out, "commit", BANGER_COMMIT);
    json_member(out, "state", names[agent.state]);
    json_member(out, "boot_id", id);
    if (agent.state == STATE_FAILED) json_member(out, "message", agent.message);
    json_end(out, '}');
    buffer_free(&boot_id);
}

static void health(uint32_t id, const struct json *request) {
    struct buffer text = {0};
    (void)request;
    request_describe(&text);
    channel_send(FRAME_RESULT, id, 0, buffer_front(&text), text.len);
    buffer_free(&text);
}

static void set_clock(uint32_t id, const struct json *request) {
    if (!identity_set_clock(json_number(request, "clock_ns", 0)))
        channel_error(id, "failed", "cannot set the clock");
    else
        channel_send_text(FRAME_RESULT, id, "{}");
}

struct operation {
    const char *name;
    void (*answer)(uint32_t id, const struct json *request); /* at once, or ... */
    bool (*later)(uint32_t id, struct json *request);        /* ... in later rounds (true: owns the request), or ... */
    worker *run;                                             /* ... in a process of its own */
    bool is_call, early;                                     /* early: also while booting */
};

static const struct operation operations[] = {
    {.name = "health", .answer = health, .early = true},
    {.name = "exec", .answer = exec_open},
    {.name = "identify", .later = identity_request},
    {.name = "clock", .answer = set_clock},
    {.name = "poweroff", .answer = power_request},
    {.name = "freeze", .answer = freeze_request},
    {.name = "thaw", .answer = thaw_request},
    {.name = "stats", .run = report_stats, .is_call = true},
    {.name = "ports", .run = report_ports, .is_call = true},
    {.name = "sync", .run = freeze_sync, .is_call = true},
    {.name = "wait-system", .run = report_system, .is_call = true},
    {.name = "file-read", .run = file_read},
    {.name = "file-write", .run = file_write},
    {.name = "tree-read", .run = tree_read},
    {.name = "tree-write", .run = tree_write},
    {.name = "relay", .run = relay_run},
    {.name = "listen", .run = listen_run},
};

static const struct operation *find_operation(const char *name) {
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        if (strcmp(operations[i].name, name) == 0) return &operations[i];
    return NULL;
}

/* Whether the request is still needed. */
static bool dispatch(uint32_t id, struct json *request) {
    const char *name = json_text(request, "op", "");
    const struct operation *operation = find_operation(name);
    if (!operation) {
        char text[200];
        snprintf(text, sizeof text, "this agent does not know the request '%.64s'", name);
        channel_error(id, "unknown-op", text);
    } else if (agent.state != STATE_READY && !operation->early) {
        channel_error(id, "not-ready", agent.state == STATE_FAILED ? agent.message : "the guest is still booting");
    } else if (operation->answer) {
        operation->answer(id, request);
    } else if (operation->later) {
        return operation->later(id, request);
    } else {
        struct program program = {.run = operation->run, .is_call = operation->is_call};
        process_start(id, request, &program);
    }
    return false;
}

void request_open(uint32_t id, const char *text, size_t len) {
    if (stream_find(id) || identity_has_stream(id)) {
        channel_error(id, "protocol", "this stream is open already");
        return;
    }
    struct json *request = json_parse(text, len);
    if (!request || request->kind != JSON_OBJECT)
        channel_error(id, "bad-request", "the request is not a JSON object");
    else if (dispatch(id, request))
        return;
    json_free(request);
}
