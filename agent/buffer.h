/* A growable byte queue: append at the end, consume from the front. */
#ifndef BANGER_BUFFER_H
#define BANGER_BUFFER_H
#include <stddef.h>

struct buffer {
    char *data;
    size_t head, len, cap;
};

void buffer_append(struct buffer *b, const void *data, size_t len);
void buffer_text(struct buffer *b, const char *text);
void buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buffer_consume(struct buffer *b, size_t len);
void buffer_clear(struct buffer *b);
void buffer_free(struct buffer *b);
/* The bytes as a C string (a NUL is kept after the last byte). */
char *buffer_string(struct buffer *b);
static inline char *buffer_front(struct buffer *b) { return b->data + b->head; }
/* Read a whole small file; returns 0 or -errno. Files longer than limit are cut. */
int buffer_read_file(struct buffer *b, const char *path, size_t limit);
#endif
