#include "locale.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The head of locale-archive (glibc, locale/locarchive.h); the names are strings at string_offset. */
struct archive {
    uint32_t magic, serial, hash_offset, hash_used, hash_size, string_offset, string_used, string_size;
};

#define ARCHIVE_MAGIC 0xde020109u

enum { NAME_MAX_LEN = 64, NAMES_MAX = 1024 * 1024 };

static bool is_name(const char *name) {
    size_t len = strlen(name);
    return len > 0 && len < NAME_MAX_LEN && isalpha((unsigned char)name[0]) && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@-") == len && !strstr(name, "..");
}

/* glibc looks for en_US.UTF-8 under en_US.utf8: of a code set only letters and digits count, in lower case. */
static void normalize(const char *name, char *out) {
    bool in_code_set = false;
    for (; *name; name++) {
        if (*name == '.' || *name == '@') in_code_set = *name == '.';
        if (in_code_set && *name != '.' && !isalnum((unsigned char)*name)) continue;
        *out++ = in_code_set ? (char)tolower((unsigned char)*name) : *name;
    }
    *out = 0;
}

static bool has_directory(const char *directory, const char *name) {
    char path[400];
    struct stat st;
    return (size_t)snprintf(path, sizeof path, "%s/%s/LC_CTYPE", directory, name) < sizeof path && stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool find_string(const char *names, size_t size, const char *name) {
    size_t len = strlen(name);
    for (size_t at = 0; at + len < size; at += strnlen(names + at, size - at) + 1)
        if (memcmp(names + at, name, len + 1) == 0) return true;
    return false;
}

static bool read_names(int fd, const char *name) {
    struct archive head;
    bool found = false;
    if (pread(fd, &head, sizeof head, 0) != sizeof head || head.magic != ARCHIVE_MAGIC) return false;
    if (head.string_used == 0 || head.string_used > NAMES_MAX) return false;
    char *names = malloc(head.string_used);
    ssize_t size = names ? pread(fd, names, head.string_used, head.string_offset) : -1;
    if (size > 0) found = find_string(names, (size_t)size, name);
    free(names);
    return found;
}

static bool is_archived(const char *directory, const char *name) {
    char path[400];
    if ((size_t)snprintf(path, sizeof path, "%s/locale-archive", directory) >= sizeof path) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool found = fd >= 0 && read_names(fd, name);
    if (fd >= 0) close(fd);
    return found;
}

bool locale_is_there(const char *directory, const char *name) {
    char normal[NAME_MAX_LEN + 1];
    if (!is_name(name)) return false;
    normalize(name, normal);
    return has_directory(directory, name) || has_directory(directory, normal) || is_archived(directory, normal);
}
