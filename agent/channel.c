#include "channel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h> /* wants sys/socket.h before it */

#include "agent.h"
#include "frame.h"
#include "identity.h"
#include "json.h"
#include "loop.h"
#include "request.h"
#include "stream.h"

enum {
    HIGH_WATER = 256 * 1024,
    READ_ROUND = 128 * 1024,
    ABSENT_MS = 5000,      /* a port hung up for this long has no host */
    SOON_MS = 300,         /* for so long the host is looked for often */
    SOON_RETRY_MS = 5,
    ABSENT_RETRY_MS = 50,
    DROPPED_RETRY_MS = 250,
};

static struct {
    int fd, listener;
    bool is_port;  /* a virtio port stays open while the host comes and goes */
    bool greeted;  /* a HELLO came and the host has not gone since */
    bool absent;   /* port only: the host end is closed; polling would spin */
    bool dropped;  /* ... for long enough that the session was dropped */
    int64_t absent_since, retry_at;
    struct parser parser;
    struct buffer out;
} channel = {.fd = -1, .listener = -1};

static void set_nonblocking(int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void channel_use_port(int fd) {
    set_nonblocking(fd);
    fcntl(fd, F_SETOWN, getpid());
    channel.fd = fd;
    channel.is_port = true;
}

void channel_use_socket(int fd) {
    set_nonblocking(fd);
    channel.fd = fd;
}

void channel_use_listener(int fd) {
    set_nonblocking(fd);
    channel.listener = fd;
}

bool channel_is_open(void) { return channel.fd >= 0 || channel.listener >= 0; }
bool channel_has_host(void) { return channel.greeted; }
bool channel_is_congested(void) { return channel.out.len >= HIGH_WATER; }
bool channel_is_flushed(void) { return !channel.greeted || channel.out.len == 0; }

static bool is_port_named(const char *port, const char *name) {
    char path[300];
    struct buffer text = {0};
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", port);
    buffer_read_file(&text, path, 256);
    char *found = buffer_string(&text);
    found[strcspn(found, "\n")] = 0;
    bool same = strcmp(found, name) == 0;
    buffer_free(&text);
    return same;
}

bool channel_open_virtio(const char *name) {
    if (channel.fd >= 0) return true;
    DIR *dir = opendir("/sys/class/virtio-ports");
    if (!dir) return false;
    char path[300];
    for (struct dirent *entry; channel.fd < 0 && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || !is_port_named(entry->d_name, name)) continue;
        snprintf(path, sizeof path, "/dev/%s", entry->d_name);
        int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0) channel_use_port(fd);
    }
    closedir(dir);
    return channel.fd >= 0;
}

bool channel_listen_vsock(unsigned port) {
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = port};
    if (channel.listener >= 0) return true;
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 4) == 0) {
        channel_use_listener(fd);
        return true;
    }
    if (fd >= 0) close(fd);
    return false;
}

void channel_send(uint8_t type, uint32_t stream, uint8_t flags, const void *payload, size_t len) {
    if (channel.greeted) frame_put(&channel.out, type, stream, flags, payload, len);
}

void channel_send_text(uint8_t type, uint32_t stream, const char *json) {
    channel_send(type, stream, 0, json, strlen(json));
}

static void put_error(uint32_t stream, const char *code, const char *message) {
    struct buffer text = {0};
    json_begin(&text, '{');
    json_member(&text, "code", code);
    json_member(&text, "message", message);
    json_end(&text, '}');
    frame_put(&channel.out, FRAME_ERROR, stream, 0, buffer_front(&text), text.len);
    buffer_free(&text);
}

void channel_error(uint32_t stream, const char *code, const char *message) {
    if (channel.greeted) put_error(stream, code, message);
}

void channel_event(const char *event, const char *message) {
    struct buffer text = {0};
    json_begin(&text, '{');
    json_member(&text, "event", event);
    if (message) json_member(&text, "message", message);
    json_end(&text, '}');
    channel_send(FRAME_EVENT, 0, 0, buffer_front(&text), text.len);
    buffer_free(&text);
}

static void drop_session(void) {
    if (channel.greeted) stream_drop_all();
    identity_drop();
    channel.greeted = false;
    buffer_clear(&channel.out);
}

static void answer_hello(const unsigned char *payload) {
    struct buffer answer = {0}, info = {0};
    unsigned char version[4] = {0, 0, 0, PROTOCOL_VERSION};
    drop_session();
    channel.greeted = true;
    request_describe(&info);
    buffer_append(&answer, FRAME_MAGIC, sizeof FRAME_MAGIC);
    buffer_append(&answer, version, sizeof version);
    buffer_append(&answer, payload + 20, NONCE_LENGTH);
    buffer_append(&answer, buffer_front(&info), info.len);
    channel_send(FRAME_HELLO, 0, 0, buffer_front(&answer), answer.len);
    buffer_free(&answer);
    buffer_free(&info);
}

/* Left over from a session whose end was seen; or that session's host is still there and has to be told. */
static void refuse(const struct frame *frame) {
    if (frame->type == FRAME_OPEN && !channel_is_congested()) put_error(frame->stream, "no-session", "this session has ended: greet again");
}

static void take_frame(void *context, const struct frame *frame) {
    (void)context;
    if (!frame)
        drop_session();
    else if (frame->type == FRAME_HELLO)
        answer_hello(frame->payload);
    else if (!channel.greeted)
        refuse(frame);
    else if (frame->type == FRAME_OPEN)
        request_open(frame->stream, (const char *)frame->payload, frame->length);
    else if (frame->type == FRAME_CLOSE && identity_has_stream(frame->stream))
        identity_drop();
    else
        stream_take_frame(frame);
}

/* That the host end of a port is closed is told beside the data, and late: the HELLO of the next host may be here already,
 * and that this one is connected comes later still. So a hang-up must last before it ends the session; the next HELLO ends
 * it at once. The parser keeps its place: queued bytes may still come. */
static void port_hung_up(void) {
    if (channel.absent) return;
    channel.absent = true;
    channel.dropped = false;
    channel.absent_since = now_ms();
    channel.retry_at = channel.absent_since + SOON_RETRY_MS;
    fcntl(channel.fd, F_SETFL, fcntl(channel.fd, F_GETFL) | O_ASYNC);
}

static void host_gone(void) {
    if (channel.is_port) {
        port_hung_up();
        return;
    }
    drop_session();
    close(channel.fd);
    channel.fd = -1;
    channel.parser.have = 0;
    channel.parser.synced = false;
    if (channel.listener < 0) stream_exit_when_dropped();
}

void channel_take_over(void) {
    if (channel.is_port) fcntl(channel.fd, F_SETOWN, getpid());
}

void channel_host_changed(void) { channel.retry_at = 0; }

static void read_some(void) {
    static unsigned char chunk[65536];
    /* A virtio port gives one 4 KiB buffer at a time. */
    for (size_t total = 0; total < READ_ROUND && channel.fd >= 0;) {
        ssize_t n = read(channel.fd, chunk, sizeof chunk);
        if (n > 0) {
            total += (size_t)n;
            parser_feed(&channel.parser, chunk, (size_t)n, take_frame, NULL);
        } else {
            if (n == 0 || (errno != EAGAIN && errno != EINTR)) host_gone();
            return;
        }
    }
}

static void write_some(void) {
    while (channel.fd >= 0 && channel.out.len > 0) {
        size_t len = channel.out.len < 32768 ? channel.out.len : 32768; /* virtio_console takes at most this at once */
        ssize_t n = write(channel.fd, buffer_front(&channel.out), len);
        if (n < 0 && errno != EAGAIN && errno != EINTR) host_gone();
        if (n <= 0) return;
        buffer_consume(&channel.out, (size_t)n);
    }
}

static void handle_channel(void *owner, int fd, short revents) {
    (void)owner, (void)fd;
    if (revents & POLLIN) read_some();
    if (channel.fd < 0) return;
    if (!(revents & POLLIN) && (revents & (POLLHUP | POLLERR)))
        host_gone();
    else
        write_some();
}

/* Whoever connects is obeyed. A guest's own users reach a vsock listener too, where the loopback transport is loaded. */
static void accept_host(void *owner, int fd, short revents) {
    (void)owner, (void)revents;
    struct sockaddr_storage from = {0};
    struct sockaddr_vm *vsock = (struct sockaddr_vm *)&from;
    socklen_t len = sizeof from;
    int peer = accept4(fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC);
    if (peer < 0) return;
    if (from.ss_family == AF_VSOCK && vsock->svm_cid != VMADDR_CID_HOST)
        close(peer);
    else
        channel_use_socket(peer);
}

static void check_absent(void) {
    struct pollfd port = {.fd = channel.fd, .events = POLLIN};
    int64_t now = now_ms();
    if (now < channel.retry_at) return;
    if (poll(&port, 1, 0) == 0 || !(port.revents & POLLHUP)) {
        channel.absent = false;
        fcntl(channel.fd, F_SETFL, fcntl(channel.fd, F_GETFL) & ~O_ASYNC);
        return;
    }
    if (port.revents & POLLIN) read_some();
    int64_t absent = now - channel.absent_since;
    if (!channel.dropped && absent >= ABSENT_MS) {
        drop_session();
        channel.dropped = true;
    }
    channel.retry_at = now + (channel.dropped ? DROPPED_RETRY_MS : absent < SOON_MS ? SOON_RETRY_MS : ABSENT_RETRY_MS);
}

void channel_collect(void) {
    if (channel.fd < 0) {
        loop_watch(channel.listener, POLLIN, accept_host, NULL);
        return;
    }
    if (channel.absent) check_absent();
    if (channel.absent) {
        loop_wake_at(channel.retry_at);
        return;
    }
    if (channel.out.len) write_some();
    if (channel.fd >= 0 && !channel.absent)
        loop_watch(channel.fd, (short)(POLLIN | (channel.out.len ? POLLOUT : 0)), handle_channel, NULL);
}
