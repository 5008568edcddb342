#include <string.h>

#include "check.h"
#include "frame.h"

static struct {
    int hello, data, lost;
    size_t bytes;
    bool filler;
} seen;

static void count(void *context, const struct frame *frame) {
    (void)context;
    if (!frame) {
        seen.lost++;
        return;
    }
    if (frame->type == FRAME_HELLO) seen.hello++;
    if (frame->type != FRAME_DATA) return;
    seen.data++;
    seen.bytes += frame->length;
    seen.filler = seen.filler || memchr(frame->payload, 0xFF, frame->length);
}

static struct parser parser;

static void restart(void) {
    memset(&seen, 0, sizeof seen);
    parser.have = 0;
    parser.synced = false;
}

static void put_hello(struct buffer *out, size_t preamble) {
    unsigned char payload[HELLO_LENGTH] = {0};
    for (size_t i = 0; i < preamble; i++) buffer_append(out, "\xff", 1);
    memcpy(payload, FRAME_MAGIC, 16);
    payload[19] = 1;
    for (int i = 0; i < 16; i++) payload[20 + i] = (unsigned char)(i * 37);
    uint32_t crc = frame_crc(payload, 36);
    for (int i = 0; i < 4; i++) payload[36 + i] = (unsigned char)(crc >> (24 - 8 * i));
    frame_put(out, FRAME_HELLO, 0, 0, payload, sizeof payload);
}

static void feed(const struct buffer *b, size_t len, size_t step) {
    for (size_t at = 0; at < len; at += step)
        parser_feed(&parser, (unsigned char *)b->data + at, len - at < step ? len - at : step, count, NULL);
}

static void test_steps(void) {
    static const size_t steps[] = {1, 5, 4096, 1 << 20};
    static char data[FRAME_MAX];
    for (size_t i = 0; i < 4; i++) {
        struct buffer b = {0};
        restart();
        buffer_text(&b, "noise that comes first");
        put_hello(&b, 0);
        frame_put(&b, FRAME_DATA, 3, 0, data, sizeof data);
        frame_put(&b, FRAME_EOF, 3, 0, NULL, 0);
        feed(&b, b.len, steps[i]);
        CHECK(seen.hello == 1 && seen.data == 1 && seen.bytes == FRAME_MAX && seen.lost == 0);
        buffer_free(&b);
    }
}

/* Cut a session after every number of bytes, start the next one: exactly one more HELLO, and no filler as data. */
static void test_every_cut(void) {
    static char data[300];
    struct buffer session = {0}, next = {0};
    put_hello(&session, 40);
    frame_put(&session, FRAME_DATA, 3, 0, data, sizeof data);
    frame_put(&session, FRAME_OPEN, 4, 0, "{}", 2);
    put_hello(&next, FRAME_PREAMBLE);
    for (size_t cut = 0; cut <= session.len; cut++) {
        restart();
        feed(&session, cut, 1 << 20);
        int before = seen.hello;
        feed(&next, next.len, 1 << 20);
        CHECK(seen.hello == before + 1);
        CHECK(!seen.filler && parser.synced && parser.have == 0);
    }
    buffer_free(&session);
    buffer_free(&next);
}

/* The longest frame, cut in its payload: the preamble is long enough. */
static void test_longest_cut(void) {
    static char data[FRAME_MAX];
    struct buffer session = {0}, next = {0};
    put_hello(&session, 0);
    size_t start = session.len;
    frame_put(&session, FRAME_DATA, 3, 0, data, sizeof data);
    put_hello(&next, FRAME_PREAMBLE);
    for (size_t cut = start; cut <= session.len; cut += cut < start + 20 || cut > session.len - 20 ? 1 : 997) {
        restart();
        feed(&session, cut, 1 << 20);
        feed(&next, next.len, 1 << 20);
        CHECK(seen.hello == 2 && !seen.filler);
        CHECK(seen.data == (cut == session.len));
    }
    buffer_free(&session);
    buffer_free(&next);
}

static void test_hello_inside_data(void) {
    struct buffer inner = {0}, b = {0};
    restart();
    put_hello(&inner, 100);
    put_hello(&b, 0);
    frame_put(&b, FRAME_DATA, 3, 0, inner.data, inner.len);
    feed(&b, b.len, 7);
    CHECK(seen.hello == 1 && seen.data == 1 && seen.lost == 0);
    buffer_free(&inner);
    buffer_free(&b);
}

static void test_crc(void) { CHECK(frame_crc((const unsigned char *)"123456789", 9) == 0xCBF43926u); }

int main(void) {
    test_crc();
    test_steps();
    test_every_cut();
    test_longest_cut();
    test_hello_inside_data();
    PASSED();
    return 0;
}
