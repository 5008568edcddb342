/* Any bytes, in pieces: frames stay within bounds, and a HELLO after a preamble is always found. */
#include <stdlib.h>
#include <string.h>

#include "frame.h"

static int hellos;

static void check(void *context, const struct frame *frame) {
    (void)context;
    if (!frame) return;
    if (frame->length > FRAME_MAX) abort();
    static unsigned char copy[FRAME_MAX];
    memcpy(copy, frame->payload, frame->length); /* every byte must be readable */
    hellos += frame->type == FRAME_HELLO;
}

static void greet(struct parser *p) {
    static unsigned char preamble[FRAME_PREAMBLE];
    unsigned char payload[HELLO_LENGTH] = {0};
    struct buffer out = {0};
    memset(preamble, 0xFF, sizeof preamble);
    memcpy(payload, FRAME_MAGIC, 16);
    uint32_t crc = frame_crc(payload, 36);
    for (int i = 0; i < 4; i++) payload[36 + i] = (unsigned char)(crc >> (24 - 8 * i));
    frame_put(&out, FRAME_HELLO, 0, 0, payload, sizeof payload);
    parser_feed(p, preamble, sizeof preamble, check, NULL);
    int before = hellos;
    parser_feed(p, (unsigned char *)buffer_front(&out), out.len, check, NULL);
    if (hellos != before + 1) abort();
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static struct parser p;
    p.have = 0;
    p.synced = size > 0 && data[0] & 1;
    size_t step = size > 1 ? (size_t)data[1] + 1 : 1;
    for (size_t at = 0; at < size; at += step) parser_feed(&p, data + at, size - at < step ? size - at : step, check, NULL);
    greet(&p);
    return 0;
}
