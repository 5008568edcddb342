#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "process.h"

static int connect_unix(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) process_refuse("bad-request", 0, "the socket's path is too long");
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) process_refuse(NULL, errno, path);
    return fd;
}

/* IPv4 first, then IPv6: servers listen on either loopback. */
static int connect_port(int port) {
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&four, sizeof four) == 0) return fd;
    int error = errno;
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&six, sizeof six) == 0) return fd;
    char what[64];
    snprintf(what, sizeof what, "cannot connect to port %d", port);
    process_refuse("refused", error, what);
}

/* One direction; false at its end. */
static bool move(int from, int to) {
    static char chunk[65536];
    ssize_t n = read(from, chunk, sizeof chunk);
    for (ssize_t done = 0; done < n;) {
        ssize_t m = write(to, chunk + done, (size_t)(n - done));
        if (m < 0) return false;
        done += m;
    }
    return n > 0;
}

int relay_run(const struct json *request) {
    const char *path = json_text(request, "unix", NULL);
    int64_t port = json_number(request, "port", 0);
    if (!path && (port < 1 || port > 65535)) process_refuse("bad-request", 0, "relay needs a port from 1 to 65535 or a unix path");
    int fd = path ? connect_unix(path) : connect_port((int)port);
    process_started("{}");
    /* Two processes, so that neither direction waits for the other. */
    pid_t reader = fork();
    if (reader < 0) return 1;
    if (reader == 0) {
        close(1);
        while (move(0, fd)) continue;
        shutdown(fd, SHUT_WR);
        _exit(0);
    }
    close(0);
    while (move(fd, 1)) continue;
    close(1);
    close(2);
    kill(reader, SIGTERM);
    return 0;
}
