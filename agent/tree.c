#include "tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "process.h"
#include "user.h"

static void put(unsigned char *out, uint64_t value, int size) {
    for (int i = 0; i < size; i++) out[i] = (unsigned char)(value >> (8 * (size - 1 - i)));
}

static uint64_t get(const unsigned char *in, int size) {
    uint64_t value = 0;
    for (int i = 0; i < size; i++) value = value << 8 | in[i];
    return value;
}

void tree_encode(unsigned char out[TREE_HEADER], const struct tree_record *record) {
    put(out, record->type, 1);
    put(out + 1, 0, 1);
    put(out + 2, record->name_length, 2);
    put(out + 4, record->number, 4);
    put(out + 8, (uint64_t)record->time, 8);
    put(out + 16, record->size, 8);
}

void tree_decode(const unsigned char in[TREE_HEADER], struct tree_record *record) {
    record->type = in[0];
    record->name_length = (uint16_t)get(in + 2, 2);
    record->number = (uint32_t)get(in + 4, 4);
    record->time = (int64_t)get(in + 8, 8);
    record->size = get(in + 16, 8);
}

const char *tree_begin(const struct json *request, char *path, size_t size) {
    static struct user who;
    const char *wanted = json_text(request, "path", "");
    if (!user_find(json_get(request, "user"), &who)) process_refuse("no-user", 0, "there is no such user in the guest");
    if (user_become(&who) < 0) process_refuse("permission", errno, "cannot become that user");
    int len = snprintf(path, size, "%s%s%s", wanted[0] == '/' ? "" : who.home, wanted[0] == '/' ? "" : "/", wanted);
    if (len < 0 || (size_t)len >= size) process_refuse("bad-request", 0, "the path is too long");
    umask(022);
    return path;
}
