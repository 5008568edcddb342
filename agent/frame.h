/* Frames and the parser that finds its way back after a cut. See docs/reference/agent-protocol.md. */
#ifndef BANGER_FRAME_H
#define BANGER_FRAME_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum {
    PROTOCOL_VERSION = 1,
    FRAME_HEADER = 12,
    FRAME_MAX = 65536,
    FRAME_END_MARK = 0x00,
    FRAME_PREAMBLE = 65600,
    HELLO_LENGTH = 40, /* magic 16, version 4, nonce 16, crc 4 */
    NONCE_LENGTH = 16,
    FRAME_LEAVE = 1, /* flag of a CLOSE: the process goes on */
};

enum frame_type {
    FRAME_HELLO = 1,
    FRAME_OPEN,
    FRAME_RESULT,
    FRAME_ACCEPT,
    FRAME_DATA,
    FRAME_EOF,
    FRAME_CREDIT,
    FRAME_SIGNAL,
    FRAME_RESIZE,
    FRAME_EXIT,
    FRAME_ERROR,
    FRAME_CLOSE,
    FRAME_EVENT,
};

extern const unsigned char FRAME_MAGIC[16];

struct frame {
    uint32_t stream;
    uint8_t type, flags;
    uint32_t length;
    const unsigned char *payload;
};

struct parser {
    bool synced; /* false: looking for a HELLO, everything else is thrown away */
    size_t have;
    unsigned char bytes[FRAME_HEADER + FRAME_MAX + 1];
};

/* Called for each whole frame, and with NULL when the stream turned out to be broken. */
typedef void frame_handler(void *context, const struct frame *frame);

void parser_feed(struct parser *p, const unsigned char *data, size_t len, frame_handler *handle, void *context);
void frame_put(struct buffer *out, uint8_t type, uint32_t stream, uint8_t flags, const void *payload, size_t len);
uint32_t frame_u32(const unsigned char *bytes);
uint32_t frame_crc(const unsigned char *data, size_t len);
#endif
