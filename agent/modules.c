#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "boot.h"

static char problem[400];

static const char *explain(int error) {
    if (error == ENOENT) return "unknown symbol: a module it needs is missing or comes later in the list";
    if (error == ENOEXEC) return "not a module of this kernel";
    return strerror(error);
}

static void note_problem(const char *name, const char *text) {
    if (!problem[0]) snprintf(problem, sizeof problem, "cannot load the module %s: %s", name, text);
}

static void load_module(const char *name) {
    char path[300];
    snprintf(path, sizeof path, "/banger/modules/%s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        note_problem(name, "it is not in the initramfs");
        return;
    }
    if (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST) note_problem(name, explain(errno));
    close(fd);
    unlink(path); /* give the memory back */
}

const char *modules_load(void) {
    struct buffer list = {0};
    buffer_read_file(&list, "/banger/modules/list", 65536);
    for (char *line = strtok(buffer_string(&list), "\n"); line; line = strtok(NULL, "\n")) load_module(line);
    buffer_free(&list);
    return problem[0] ? problem : NULL;
}
