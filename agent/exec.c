#include "exec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "bus.h"
#include "channel.h"
#include "locale.h"
#include "process.h"
#include "user.h"

#define ROOT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { ENV_LIMIT = 1024, ARGV_LIMIT = 8192, BUS_TIMEOUT_MS = 60000, BOOT_MS = 120000 };

static struct user who; /* found by the parent, used by the child it forks */

static char **make_argv(const struct json *list) {
    size_t count = json_count(list), at = 0;
    if (!list || list->kind != JSON_ARRAY || count == 0 || count > ARGV_LIMIT) return NULL;
    char **argv = calloc(count + 1, sizeof *argv);
    for (const struct json *item = list->child; argv && item; item = item->next) {
        if (item->kind != JSON_STRING) {
            free(argv);
            return NULL;
        }
        argv[at++] = item->text;
    }
    if (argv && !*argv[0]) {
        free(argv);
        return NULL;
    }
    return argv;
}

static bool is_file_under(const char *dir, const char *name) {
    char path[600];
    struct stat st;
    return (size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Entries lie in a directory named by the first letter, or by its number in hexadecimal. */
static bool has_terminal(const char *name) {
    static const char *databases[] = {"/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo", "/usr/lib/terminfo"};
    char entry[100];
    for (size_t i = 0; i < 2 * sizeof databases / sizeof *databases; i++) {
        snprintf(entry, sizeof entry, i % 2 ? "%02x/%s" : "%c/%s", (unsigned char)name[0], name);
        if (is_file_under(databases[i / 2], entry)) return true;
    }
    return false;
}

/* A terminal that the guest has never heard of becomes the nearest one it knows. Without a database nobody asks. */
static void choose_terminal(void) {
    static const char *known[] = {"xterm-256color", "xterm", "vt100"};
    const char *name = getenv("TERM"), *home = getenv("TERMINFO");
    if (!name || !*name) name = known[0];
    bool sane = strlen(name) < 80 && !strchr(name, '/') && name[0] != '.';
    setenv("TERM", sane ? name : known[0], 1);
    if ((sane && has_terminal(name)) || home || (sane && !has_terminal("dumb"))) return;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (has_terminal(known[i])) {
            setenv("TERM", known[i], 1);
            return;
        }
    setenv("TERM", "dumb", 1);
}

/* The host's zone, where the guest knows it by that name. */
static void choose_zone(const char *zone) {
    if (zone && *zone && zone[0] != '/' && zone[0] != '.' && !strstr(zone, "..") && !getenv("TZ") && is_file_under("/usr/share/zoneinfo", zone))
        setenv("TZ", zone, 1);
}

/* The caller's language, where the guest has it. */
static void choose_language(const char *language) {
    if (language && locale_is_there("/usr/lib/locale", language)) setenv("LANG", language, 1);
}

static void make_environment(const struct json *wanted) {
    clearenv();
    setenv("PATH", ROOT_PATH, 1);
    setenv("HOME", who.home, 1);
    setenv("USER", who.name, 1);
    setenv("LOGNAME", who.name, 1);
    setenv("SHELL", who.shell, 1);
    for (const struct json *item = wanted ? wanted->child : NULL; item; item = item->next) {
        if (item->kind == JSON_STRING && setenv(item->key, item->text, 1) < 0) process_refuse("bad-request", errno, item->key);
        if (item->kind == JSON_NULL) unsetenv(item->key);
    }
}

static void enter_directory(const char *cwd) {
    char what[4200];
    if (cwd && chdir(cwd) == 0) return;
    if (cwd) {
        int error = errno;
        snprintf(what, sizeof what, "cannot enter '%s'", cwd);
        process_refuse("cwd", error, what);
    }
    if (chdir(who.home) < 0 && chdir("/") < 0) process_refuse("cwd", errno, "cannot enter '/'");
}

static int try_path(const char *dir, size_t dir_len, char **argv, char *path, size_t size) {
    struct stat st;
    if ((size_t)snprintf(path, size, "%.*s%s%s", (int)dir_len, dir, dir_len ? "/" : "", argv[0]) >= size) return ENAMETOOLONG;
    if (stat(path, &st) < 0) return errno;
    if (!S_ISREG(st.st_mode)) return EACCES;
    execv(path, argv);
    return errno;
}

/* A script without "#!" runs under sh, as execvp does it. */
static int run_by_shell(const char *path, char **argv) {
    size_t count = 0;
    while (argv[count]) count++;
    char **again = calloc(count + 2, sizeof *again);
    if (!again) return ENOMEM;
    again[0] = "sh";
    again[1] = (char *)(uintptr_t)path;
    memcpy(again + 2, argv + 1, count * sizeof *argv);
    execv("/bin/sh", again);
    free(again);
    return ENOEXEC;
}

static int execute(char **argv) {
    char path[4200];
    int error = ENOENT;
    if (strchr(argv[0], '/')) {
        error = try_path("", 0, argv, path, sizeof path);
        return error == ENOEXEC ? run_by_shell(path, argv) : error;
    }
    const char *dir = getenv("PATH");
    while (dir && *dir) {
        size_t len = strcspn(dir, ":");
        int now = len ? try_path(dir, len, argv, path, sizeof path) : ENOENT;
        if (now == ENOEXEC) now = run_by_shell(path, argv);
        if (now != ENOENT && now != ENOTDIR) error = now;
        dir += len + (dir[len] == ':');
    }
    return error;
}

/* Only while the guest starts: a bus that was stopped, or that the image lacks, delays nothing later. */
static void await_bus(const char *command) {
    int64_t left = BOOT_MS - now_ms();
    if (agent.has_systemd && left > 0) bus_await(command, who.uid == 0, "/run", left < BUS_TIMEOUT_MS ? (int)left : BUS_TIMEOUT_MS);
}

static int run(const struct json *request) {
    char what[300];
    char **argv = make_argv(json_get(request, "argv"));
    make_environment(json_get(request, "env"));
    choose_zone(json_text(request, "tz", NULL));
    choose_language(json_text(request, "lang", NULL));
    if (isatty(0)) choose_terminal();
    umask(022);
    if (user_become(&who) < 0) process_refuse("permission", errno, "cannot become that user");
    enter_directory(json_text(request, "cwd", NULL));
    if (!argv) process_refuse("bad-request", 0, "no memory for argv");
    await_bus(argv[0]);
    int error = execute(argv);
    snprintf(what, sizeof what, "cannot run '%.200s'", argv[0]);
    process_refuse(NULL, error == ENOEXEC ? EACCES : error, what);
}

void exec_open(uint32_t id, const struct json *request) {
    struct program program = {.run = run};
    char **argv = make_argv(json_get(request, "argv"));
    const struct json *env = json_get(request, "env");
    if (!argv || json_count(env) > ENV_LIMIT) {
        channel_error(id, "bad-request", argv ? "env has too many variables" : "argv must be a list of strings that starts with a command");
        free(argv);
        return;
    }
    free(argv);
    if (!user_find(json_get(request, "user"), &who)) {
        channel_error(id, "no-user", "there is no such user in the guest");
        return;
    }
    program.is_tty = json_true(request, "tty");
    program.detached = json_true(request, "detached");
    program.is_tty = program.is_tty && !program.detached;
    program.rows = (int)json_number(request, "rows", 24);
    program.cols = (int)json_number(request, "cols", 80);
    program.terminal_owner = who.uid;
    process_start(id, request, &program);
}
