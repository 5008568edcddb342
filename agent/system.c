/* wait-system: until the init has reached its default target, or the time is over. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "report.h"

enum { DEFAULT_TIMEOUT_S = 60, TIMEOUT_LIMIT_S = 3600, FAILED_MS = 5000, OUTPUT_LIMIT = 16384 };

/* Standard output of a systemctl, cut at the deadline; nothing when no process can be had. */
static void run_systemctl(const char *const argv[], int64_t deadline, struct buffer *out) {
    int pair[2];
    char chunk[1024];
    ssize_t n;
    if (pipe2(pair, O_CLOEXEC) < 0) return;
    pid_t pid = fork();
    if (pid < 0) { /* and never kill(-1): that is everybody */
        close(pair[0]);
        close(pair[1]);
        return;
    }
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        dup2(null, 0);
        dup2(pair[1], 1);
        dup2(null, 2);
        setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        execvp("systemctl", (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pair[1]);
    for (;;) {
        struct pollfd wait = {.fd = pair[0], .events = POLLIN};
        int64_t left = deadline - now_ms();
        if (left <= 0 || poll(&wait, 1, (int)left) <= 0 || (n = read(pair[0], chunk, sizeof chunk)) <= 0) break;
        if (out->len < OUTPUT_LIMIT) buffer_append(out, chunk, (size_t)n);
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(pair[0]);
}

static bool is_final(const char *state) {
    static const char *states[] = {"running", "degraded", "maintenance", "stopping"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (strcmp(state, states[i]) == 0) return true;
    return false;
}

static void add_failed(struct buffer *out, int64_t deadline) {
    static const char *const argv[] = {"systemctl", "list-units", "--state=failed", "--plain", "--no-legend", "--no-pager", NULL};
    struct buffer text = {0};
    run_systemctl(argv, deadline, &text);
    json_key(out, "failed");
    buffer_text(out, "[");
    for (char *line = strtok(buffer_string(&text), "\n"); line; line = strtok(NULL, "\n")) {
        line[strcspn(line, " ")] = 0;
        if (*line) json_add_text(out, line);
    }
    json_end(out, ']');
    buffer_free(&text);
}

int report_system(const struct json *request) {
    static const char *const argv[] = {"systemctl", "is-system-running", "--wait", NULL};
    struct buffer out = {0}, state = {0};
    int64_t seconds = json_number(request, "timeout_s", DEFAULT_TIMEOUT_S);
    if (seconds < 1) seconds = 1;
    if (seconds > TIMEOUT_LIMIT_S) seconds = TIMEOUT_LIMIT_S;
    int64_t deadline = now_ms() + seconds * 1000;
    json_begin(&out, '{');
    if (!agent.has_systemd) {
        json_member(&out, "state", "unmanaged");
        buffer_text(&out, ",\"failed\":[]}");
        return report_print(&out);
    }
    for (;;) {
        buffer_clear(&state);
        run_systemctl(argv, deadline, &state);
        char *text = buffer_string(&state);
        text[strcspn(text, "\n")] = 0;
        if (is_final(text) || now_ms() >= deadline) break;
        poll(NULL, 0, 100);
    }
    char *text = buffer_string(&state);
    json_member(&out, "state", is_final(text) ? text : "timeout");
    buffer_free(&state);
    add_failed(&out, now_ms() + FAILED_MS);
    json_end(&out, '}');
    return report_print(&out);
}
