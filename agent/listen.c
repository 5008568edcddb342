/* listen: a socket of the guest's whose connections are the host's to answer, all on one stream.
 *
 * A message on stdin and stdout: the connection's number (u32), a length (u32), so many bytes. Without any bytes it
 * says that the connection has ended. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "files.h"
#include "process.h"

enum { CONNECTIONS = 16, MESSAGE = 64 * 1024, HEAD = 8, PATIENCE_S = 5 };

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct {
    int fd; /* -1: free */
    uint32_t number;
} connections[CONNECTIONS];
static unsigned char piece[HEAD + MESSAGE];

static void end(int number) {
    unlink(address.sun_path);
    _exit(128 + number);
}

static bool read_exactly(int fd, unsigned char *into, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = read(fd, into + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static bool write_all(int fd, const unsigned char *from, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = fd == 1 ? write(fd, from + done, len - done) : send(fd, from + done, len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static void put(unsigned char *out, uint32_t value) {
    for (int i = 0; i < 4; i++) out[i] = (unsigned char)(value >> (8 * (3 - i)));
}

static uint32_t get(const unsigned char *in) { return (uint32_t)in[0] << 24 | (uint32_t)in[1] << 16 | (uint32_t)in[2] << 8 | in[3]; }

/* To the host; it is the one that cannot be done without. */
static void tell(uint32_t number, size_t len) {
    put(piece, number);
    put(piece + 4, (uint32_t)len);
    if (!write_all(1, piece, HEAD + len)) end(0);
}

static void drop(int slot, bool say) {
    close(connections[slot].fd);
    connections[slot].fd = -1;
    if (say) tell(connections[slot].number, 0);
}

static void take_connection(int listener) {
    static uint32_t count;
    /* A client that does not read holds up nobody for long. */
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC), slot = 0;
    if (fd < 0) return;
    while (slot < CONNECTIONS && connections[slot].fd >= 0) slot++;
    if (slot == CONNECTIONS || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0) {
        close(fd);
        return;
    }
    connections[slot].fd = fd;
    connections[slot].number = ++count;
}

static void take_data(int slot) {
    ssize_t n = recv(connections[slot].fd, piece + HEAD, MESSAGE, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0)
        drop(slot, true);
    else
        tell(connections[slot].number, (size_t)n);
}

/* False when the host has ended, or makes no sense. */
static bool take_answer(void) {
    unsigned char head[HEAD];
    if (!read_exactly(0, head, HEAD)) return false;
    uint32_t number = get(head), len = get(head + 4);
    if (len > MESSAGE || !read_exactly(0, piece, len)) return false;
    for (int slot = 0; slot < CONNECTIONS; slot++) {
        if (connections[slot].fd < 0 || connections[slot].number != number) continue;
        if (len == 0)
            drop(slot, false);
        else if (!write_all(connections[slot].fd, piece, len))
            drop(slot, true);
    }
    return true;
}

static int open_listener(const char *path) {
    if (!path || path[0] != '/' || strlen(path) >= sizeof address.sun_path) process_refuse("bad-request", 0, "path must be absolute and short");
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    umask(0177);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, CONNECTIONS) < 0) process_refuse(NULL, errno, path);
    return fd;
}

int listen_run(const struct json *request) {
    struct pollfd wanted[CONNECTIONS + 2];
    for (int slot = 0; slot < CONNECTIONS; slot++) connections[slot].fd = -1;
    int listener = open_listener(json_text(request, "path", NULL));
    signal(SIGHUP, end);
    signal(SIGTERM, end);
    process_started("{}");
    for (;;) {
        wanted[0] = (struct pollfd){.fd = 0, .events = POLLIN};
        wanted[1] = (struct pollfd){.fd = listener, .events = POLLIN};
        for (int slot = 0; slot < CONNECTIONS; slot++) wanted[slot + 2] = (struct pollfd){.fd = connections[slot].fd, .events = POLLIN};
        if (poll(wanted, CONNECTIONS + 2, -1) < 0 && errno != EINTR) end(0);
        for (int slot = 0; slot < CONNECTIONS; slot++)
            if (connections[slot].fd >= 0 && wanted[slot + 2].fd == connections[slot].fd && wanted[slot + 2].revents) take_data(slot);
        if (wanted[0].revents && !take_answer()) break;
        if (wanted[1].revents) take_connection(listener);
    }
    unlink(address.sun_path);
    return 0;
}
