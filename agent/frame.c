#include "frame.h"

#include <string.h>

/* No byte of it is 0xff, so a preamble can not run into it. */
const unsigned char FRAME_MAGIC[16] = {0x00, 'B', 'A', 'N', 'G', 'E', 'R', 0x1A, 0x0D, 0x0A, 0x93, 0xC5, 0x6E, 0xB1, 0x27, 0xD8};

uint32_t frame_u32(const unsigned char *b) {
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void put_u32(unsigned char *b, uint32_t value) {
    for (int i = 3; i >= 0; i--, value >>= 8) b[i] = (unsigned char)value;
}

uint32_t frame_crc(const unsigned char *data, size_t len) {
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

void frame_put(struct buffer *out, uint8_t type, uint32_t stream, uint8_t flags, const void *payload, size_t len) {
    unsigned char header[FRAME_HEADER] = {0};
    static const unsigned char end = FRAME_END_MARK;
    put_u32(header, (uint32_t)len);
    put_u32(header + 4, stream);
    header[8] = type;
    header[9] = flags;
    buffer_append(out, header, sizeof header);
    buffer_append(out, payload, len);
    buffer_append(out, &end, 1);
}

/* HELLO is the only frame the host may send on stream 0; the others belong to a stream. */
static bool is_valid_header(const unsigned char *h) {
    uint32_t length = frame_u32(h);
    if (length > FRAME_MAX || h[10] || h[11]) return false;
    bool control = frame_u32(h + 4) == 0;
    switch (h[8]) {
    case FRAME_HELLO: return control && length == HELLO_LENGTH;
    case FRAME_OPEN: return !control;
    case FRAME_DATA: return !control && length > 0 && h[9] == 0;
    case FRAME_EOF: return !control && length == 0 && h[9] == 0;
    case FRAME_CREDIT: return !control && length == 4;
    case FRAME_SIGNAL: return !control && length == 1;
    case FRAME_RESIZE: return !control && length == 4;
    case FRAME_CLOSE: return !control && length == 0;
    default: return false;
    }
}

static bool is_valid_hello(const unsigned char *payload) {
    return memcmp(payload, FRAME_MAGIC, sizeof FRAME_MAGIC) == 0 && frame_u32(payload + 36) == frame_crc(payload, 36);
}

static void emit(struct parser *p, frame_handler *handle, void *context) {
    struct frame frame = {frame_u32(p->bytes + 4), p->bytes[8], p->bytes[9], frame_u32(p->bytes), p->bytes + FRAME_HEADER};
    p->have = 0;
    handle(context, &frame);
}

static bool may_start_hello(const struct parser *p) {
    unsigned char start[FRAME_HEADER + sizeof FRAME_MAGIC] = {0, 0, 0, HELLO_LENGTH, 0, 0, 0, 0, FRAME_HELLO};
    memcpy(start + FRAME_HEADER, FRAME_MAGIC, sizeof FRAME_MAGIC);
    return memcmp(p->bytes, start, p->have < sizeof start ? p->have : sizeof start) == 0;
}

/* One byte while out of step: keep what may still become a HELLO, drop the rest from the front. */
static void scan_byte(struct parser *p, unsigned char byte, frame_handler *handle, void *context) {
    p->bytes[p->have++] = byte;
    if (p->have == FRAME_HEADER + HELLO_LENGTH + 1) {
        if (may_start_hello(p) && is_valid_hello(p->bytes + FRAME_HEADER) && byte == FRAME_END_MARK) {
            p->synced = true;
            emit(p, handle, context);
            return;
        }
        memmove(p->bytes, p->bytes + 1, --p->have);
    }
    while (p->have > 0 && !may_start_hello(p)) memmove(p->bytes, p->bytes + 1, --p->have);
}

/* What was taken for a frame was not one: tell the owner, then look for a HELLO in the same bytes. */
static void lose_step(struct parser *p, frame_handler *handle, void *context) {
    unsigned char seen[FRAME_HEADER + HELLO_LENGTH + 1];
    size_t len = p->have < sizeof seen ? p->have : sizeof seen;
    memcpy(seen, p->bytes + p->have - len, len);
    p->have = 0;
    p->synced = false;
    handle(context, NULL);
    for (size_t i = 0; i < len; i++) {
        if (p->synced)
            parser_feed(p, seen + i, 1, handle, context);
        else
            scan_byte(p, seen[i], handle, context);
    }
}

static size_t wanted(const struct parser *p) {
    return p->have < FRAME_HEADER ? FRAME_HEADER : FRAME_HEADER + (size_t)frame_u32(p->bytes) + 1;
}

static void check_progress(struct parser *p, frame_handler *handle, void *context) {
    if (p->have == FRAME_HEADER && !is_valid_header(p->bytes)) {
        lose_step(p, handle, context);
        return;
    }
    if (p->have <= FRAME_HEADER || p->have < wanted(p)) return;
    bool whole = p->bytes[p->have - 1] == FRAME_END_MARK;
    if (p->bytes[8] == FRAME_HELLO) whole = whole && is_valid_hello(p->bytes + FRAME_HEADER);
    if (whole)
        emit(p, handle, context);
    else
        lose_step(p, handle, context);
}

void parser_feed(struct parser *p, const unsigned char *data, size_t len, frame_handler *handle, void *context) {
    while (len > 0) {
        if (!p->synced && p->have == 0 && *data != 0) { /* a HELLO starts with a zero byte: skip the preamble fast */
            const unsigned char *zero = memchr(data, 0, len);
            size_t skip = zero ? (size_t)(zero - data) : len;
            data += skip;
            len -= skip;
            continue;
        }
        if (!p->synced) {
            scan_byte(p, *data, handle, context);
            data++;
            len--;
            continue;
        }
        size_t need = wanted(p) - p->have;
        size_t take = need < len ? need : len;
        memcpy(p->bytes + p->have, data, take);
        p->have += take;
        data += take;
        len -= take;
        check_progress(p, handle, context);
    }
}
