#include "buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void reserve(struct buffer *b, size_t extra) {
    if (b->head > 0 && b->head + b->len + extra > b->cap) {
        memmove(b->data, b->data + b->head, b->len);
        b->head = 0;
    }
    if (b->len + extra <= b->cap) return;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < b->len + extra) cap *= 2;
    char *data = realloc(b->data, cap);
    if (!data) abort(); /* nothing useful can be done without a few kilobytes */
    b->data = data;
    b->cap = cap;
}

void buffer_append(struct buffer *b, const void *data, size_t len) {
    if (len == 0) return;
    reserve(b, len);
    memcpy(b->data + b->head + b->len, data, len);
    b->len += len;
}

void buffer_text(struct buffer *b, const char *text) { buffer_append(b, text, strlen(text)); }

void buffer_printf(struct buffer *b, const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        reserve(b, (size_t)len + 1);
        vsnprintf(b->data + b->head + b->len, (size_t)len + 1, format, again);
        b->len += (size_t)len;
    }
    va_end(again);
}

void buffer_consume(struct buffer *b, size_t len) {
    b->head += len;
    b->len -= len;
    if (b->len == 0) b->head = 0;
}

void buffer_clear(struct buffer *b) { b->head = b->len = 0; }

void buffer_free(struct buffer *b) {
    free(b->data);
    memset(b, 0, sizeof *b);
}

char *buffer_string(struct buffer *b) {
    reserve(b, 1);
    b->data[b->head + b->len] = 0;
    return b->data + b->head;
}

int buffer_read_file(struct buffer *b, const char *path, size_t limit) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -errno;
    char chunk[4096];
    ssize_t n = 0;
    while (b->len < limit && (n = read(fd, chunk, sizeof chunk)) > 0) buffer_append(b, chunk, (size_t)n);
    int error = n < 0 ? -errno : 0;
    close(fd);
    return error;
}
