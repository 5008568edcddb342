/* Who waits for systemd's sockets, and that it ends. */
#include "../bus.c"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "check.h"

static char run[] = "/tmp/agent-bus-XXXXXX";

static void make(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", run, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    close(fd);
}

static void make_later(const char *name) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        poll(NULL, 0, 100);
        make(name);
        _exit(0);
    }
}

int main(void) {
    char command[300];
    CHECK(mkdtemp(run));
    snprintf(command, sizeof command, "mkdir %s/systemd %s/dbus", run, run);
    CHECK(system(command) == 0);
    CHECK(bus_await("true", true, run, 0) && bus_await("/bin/systemctlx", true, run, 0) && bus_await("systemctl/", true, run, 0));
    CHECK(!bus_await("systemctl", true, run, 0) && !bus_await("/usr/bin/systemctl", true, run, 40));
    make_later("systemd/private");
    CHECK(bus_await("systemctl", true, run, 20000));
    CHECK(!bus_await("systemctl", false, run, 0) && !bus_await("/usr/bin/loginctl", true, run, 0));
    make_later("dbus/system_bus_socket");
    CHECK(bus_await("loginctl", true, run, 20000) && bus_await("systemctl", false, run, 0));
    while (wait(NULL) > 0) continue;
    snprintf(command, sizeof command, "rm -r %s", run);
    CHECK(system(command) == 0);
    PASSED();
    return 0;
}
