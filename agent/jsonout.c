#include <inttypes.h>
#include <string.h>

#include "json.h"

static void separate(struct buffer *b) {
    if (b->len && !strchr("{[:", b->data[b->head + b->len - 1])) buffer_text(b, ",");
}

void json_begin(struct buffer *b, char bracket) {
    separate(b);
    buffer_append(b, &bracket, 1);
}

void json_end(struct buffer *b, char bracket) { buffer_append(b, &bracket, 1); }

/* How many bytes of valid UTF-8 start here; 0 when the byte stands alone. */
static size_t utf8_length(const unsigned char *s) {
    size_t len = s[0] >= 0xC2 && s[0] < 0xE0 ? 2 : s[0] >= 0xE0 && s[0] < 0xF0 ? 3 : s[0] >= 0xF0 && s[0] < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F)) return 0;
    if ((s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F)) return 0;
    return len;
}

static void put_string(struct buffer *b, const char *text) {
    buffer_text(b, "\"");
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t len = *s < 0x80 ? 1 : utf8_length(s);
        if (*s == '"' || *s == '\\')
            buffer_printf(b, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7F)
            buffer_printf(b, "\\u%04x", *s);
        else if (len == 0)
            buffer_printf(b, "\\udc%02x", *s);
        else
            buffer_append(b, s, len);
        s += len ? len : 1;
    }
    buffer_text(b, "\"");
}

void json_key(struct buffer *b, const char *key) {
    separate(b);
    put_string(b, key);
    buffer_text(b, ":");
}

void json_add_text(struct buffer *b, const char *text) {
    separate(b);
    put_string(b, text);
}

void json_add_number(struct buffer *b, int64_t number) {
    separate(b);
    buffer_printf(b, "%" PRId64, number);
}

void json_member(struct buffer *b, const char *key, const char *text) {
    json_key(b, key);
    put_string(b, text);
}

void json_member_number(struct buffer *b, const char *key, int64_t number) {
    json_key(b, key);
    buffer_printf(b, "%" PRId64, number);
}
