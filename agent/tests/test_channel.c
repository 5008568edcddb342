/* Which session a hang-up of the port ends. A pseudo-terminal stands in for the port: it hangs up while nobody has its
 * other side open, and comes back. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <termios.h>

#include "../channel.c"
#include "check.h"

static int64_t clock_ms = 1000;
static int dropped, opened;
static struct {
    loop_handler *handle;
    int fd;
    short events;
} watched;

int64_t now_ms(void) { return clock_ms; }
void log_line(const char *format, ...) { CHECK(!format); }
void loop_watch(int fd, short events, loop_handler *handle, void *owner) {
    CHECK(!owner);
    watched.fd = fd, watched.events = events, watched.handle = handle;
}
void loop_wake_at(int64_t when) { CHECK(when >= 0); }
void identity_drop(void) {}
bool identity_has_stream(uint32_t id) { return id == 0; }
void stream_drop_all(void) { dropped++; }
void stream_exit_when_dropped(void) {}
void stream_take_frame(const struct frame *frame) { CHECK(frame); }
void request_describe(struct buffer *out) { buffer_text(out, "{}"); }
void request_open(uint32_t id, const char *text, size_t len) {
    CHECK(id && text && len);
    opened++;
}

static void step(int64_t ms) {
    clock_ms += ms;
    for (int i = 0; i < 4; i++) {
        watched.handle = NULL;
        channel_collect();
        struct pollfd fd = {.fd = watched.fd, .events = watched.events};
        if (watched.handle && poll(&fd, 1, 10) > 0) watched.handle(NULL, fd.fd, fd.revents);
    }
}

static int connect_host(const char *path) {
    struct termios raw;
    int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK);
    CHECK(fd >= 0 && tcgetattr(fd, &raw) == 0);
    cfmakeraw(&raw);
    CHECK(tcsetattr(fd, TCSANOW, &raw) == 0);
    return fd;
}

static void send_frame(int fd, uint8_t type, uint32_t stream, const void *payload, size_t len) {
    struct buffer out = {0};
    frame_put(&out, type, stream, 0, payload, len);
    CHECK(write(fd, buffer_front(&out), out.len) == (ssize_t)out.len);
    buffer_free(&out);
}

static void greet(int fd) {
    unsigned char payload[HELLO_LENGTH] = {0};
    memcpy(payload, FRAME_MAGIC, 16);
    payload[19] = PROTOCOL_VERSION;
    uint32_t crc = frame_crc(payload, 36);
    for (int i = 0; i < 4; i++) payload[36 + i] = (unsigned char)(crc >> (24 - 8 * i));
    send_frame(fd, FRAME_HELLO, 0, payload, sizeof payload);
}

static bool said(int fd, const char *word) {
    static char text[4096];
    ssize_t n = read(fd, text, sizeof text);
    return n > 0 && memmem(text, (size_t)n, word, strlen(word));
}

int main(void) {
    int port = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(port >= 0 && grantpt(port) == 0 && unlockpt(port) == 0);
    const char *path = ptsname(port);
    int host = connect_host(path);
    channel_use_port(port);

    greet(host);
    step(1);
    CHECK(channel_has_host() && said(host, "{}"));

    /* The next host greets; that the one before it hung up is noticed only then, and for a second. */
    greet(host);
    send_frame(host, FRAME_OPEN, 1, "{}", 2);
    step(1);
    CHECK(opened == 1 && dropped == 1);
    close(host);
    for (int i = 0; i < 10; i++) step(100);
    host = connect_host(path);
    step(100);
    send_frame(host, FRAME_OPEN, 2, "{}", 2);
    step(1);
    CHECK(channel_has_host() && opened == 2 && dropped == 1);

    /* A host that is gone for long has no session any more, and is told when it goes on as if it had. */
    close(host);
    for (int i = 0; i < 60; i++) step(100);
    CHECK(!channel_has_host() && dropped == 2);
    host = connect_host(path);
    step(300);
    send_frame(host, FRAME_OPEN, 3, "{}", 2);
    step(1);
    step(1);
    CHECK(opened == 2 && said(host, "no-session"));
    greet(host);
    send_frame(host, FRAME_OPEN, 1, "{}", 2);
    step(1);
    CHECK(channel_has_host() && opened == 3);
    PASSED();
    return 0;
}
