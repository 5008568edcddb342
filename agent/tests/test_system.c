/* wait-system against a systemctl of our own, and without processes to be had. */
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static bool no_processes;
static int kills;

static pid_t test_fork(void) { return no_processes ? -1 : fork(); }

static int test_kill(pid_t pid, int number) {
    CHECK(pid > 0);
    kills++;
    return kill(pid, number);
}

static int keep_path(const char *name, const char *value, int overwrite) {
    (void)name, (void)value, (void)overwrite;
    return 0;
}

#define fork test_fork
#define kill test_kill
#define setenv keep_path
#include "../system.c"
#undef fork
#undef kill
#undef setenv

struct agent agent;
static struct buffer printed;

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int report_print(struct buffer *text) {
    buffer_clear(&printed);
    buffer_append(&printed, buffer_front(text), text->len);
    buffer_free(text);
    return 0;
}

static const char *answer(const char *question) {
    struct json *request = json_parse(question, strlen(question));
    CHECK(report_system(request) == 0);
    json_free(request);
    return buffer_string(&printed);
}

static void install(const char *script) {
    char dir[] = "/tmp/banger-test-XXXXXX", path[100];
    CHECK(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/systemctl", dir);
    FILE *file = fopen(path, "w");
    CHECK(file && fputs(script, file) >= 0 && fclose(file) == 0 && chmod(path, 0755) == 0);
    snprintf(path, sizeof path, "%s:/usr/bin:/bin", dir);
    setenv("PATH", path, 1);
}

static void uninstall(void) {
    char path[100];
    snprintf(path, sizeof path, "%s", getenv("PATH"));
    *strchr(path, ':') = 0;
    strcat(path, "/systemctl");
    unlink(path);
    *strrchr(path, '/') = 0;
    rmdir(path);
}

int main(void) {
    static const char never[] = "{\"timeout_s\":1}";
    CHECK(strcmp(answer(never), "{\"state\":\"unmanaged\",\"failed\":[]}") == 0);
    agent.has_systemd = true;
    no_processes = true;
    CHECK(strcmp(answer(never), "{\"state\":\"timeout\",\"failed\":[]}") == 0 && kills == 0);
    no_processes = false;
    install("#!/bin/sh\n[ $1 = list-units ] || exec sleep 60\necho 'a.service loaded failed'\n");
    CHECK(strcmp(answer(never), "{\"state\":\"timeout\",\"failed\":[\"a.service\"]}") == 0 && kills > 0);
    uninstall();
    install("#!/bin/sh\n[ $1 = list-units ] || echo degraded\n[ $1 = list-units ] && printf 'a.service x\\nb.mount x\\n'\n");
    CHECK(strcmp(answer("{\"timeout_s\":30}"), "{\"state\":\"degraded\",\"failed\":[\"a.service\",\"b.mount\"]}") == 0);
    uninstall();
    buffer_free(&printed);
    PASSED();
    return 0;
}
