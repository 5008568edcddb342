#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "channel.h"
#include "loop.h"

struct agent agent = {.log_fd = -1};

/* In one piece, so that the host can read it out of the file, whatever processor it is for. */
static const char build[] = "banger-agent " BANGER_VERSION " (" BANGER_COMMIT ", built " BANGER_BUILT_AT ")";

void log_line(const char *format, ...) {
    char text[1200] = "banger-agent: ";
    size_t at = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, sizeof text - at - 1, format, args);
    va_end(args);
    strcat(text, "\n");
    if (write(agent.log_fd >= 0 ? agent.log_fd : 2, text, strlen(text)) < 0) return;
}

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int listen_on(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) return -1;
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0) return -1;
    return fd;
}

/* Outside a guest: for tests. */
static int serve(int argc, char **argv) {
    loop_start();
    agent.state = STATE_READY;
    if (argc == 3 && strcmp(argv[1], "--serve-fd") == 0) {
        channel_use_socket(atoi(argv[2]));
    } else if (argc == 3 && strcmp(argv[1], "--listen") == 0) {
        int fd = listen_on(argv[2]);
        if (fd < 0) {
            log_line("cannot listen on %s: %s", argv[2], strerror(errno));
            return 1;
        }
        channel_use_listener(fd);
    } else {
        fprintf(stderr, "usage: banger-agent [--version | --serve-fd N | --listen PATH]\n");
        return 2;
    }
    for (;;) loop_step(-1);
}

int main(int argc, char **argv) {
    for (int fd = open("/dev/null", O_RDWR); fd >= 0 && fd <= 2;) fd = open("/dev/null", O_RDWR);
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        puts(build);
        return 0;
    }
    if (getpid() != 1) return serve(argc, argv);
    boot_run(argv[0]);
    for (;;) loop_step(-1);
}
