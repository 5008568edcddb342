#include "bus.h"

#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { STEP_MS = 20 };

static bool is_one_of(const char *name, const char *const names[]) {
    for (; *names; names++)
        if (strcmp(name, *names) == 0) return true;
    return false;
}

/* root speaks to systemd itself, anybody else through the system's bus; some programs use that always. */
static const char *find_socket(const char *command, bool is_root) {
    static const char *const manager[] = {"systemctl", "systemd-analyze", "systemd-run", "service", "poweroff", "reboot", "halt", "shutdown", NULL};
    static const char *const bus[] = {"busctl", "loginctl", "hostnamectl", "timedatectl", "localectl", NULL};
    const char *slash = strrchr(command, '/'), *name = slash ? slash + 1 : command;
    if (is_one_of(name, manager)) return is_root ? "systemd/private" : "dbus/system_bus_socket";
    return is_one_of(name, bus) ? "dbus/system_bus_socket" : NULL;
}

bool bus_await(const char *command, bool is_root, const char *run, int limit_ms) {
    char path[200];
    const char *name = find_socket(command, is_root);
    if (!name) return true;
    snprintf(path, sizeof path, "%s/%s", run, name);
    for (int waited = 0; access(path, F_OK) < 0; waited += STEP_MS) {
        if (waited >= limit_ms) return false;
        poll(NULL, 0, STEP_MS);
    }
    return true;
}
