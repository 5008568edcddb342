/* tree-read: a file or a directory of the guest, as records on stdout. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "files.h"
#include "process.h"
#include "tree.h"

static unsigned char out[TREE_HEADER + TREE_CHUNK];
static size_t waiting;
static bool incomplete;

static void flush(void) {
    for (size_t done = 0; done < waiting;) {
        ssize_t n = write(1, out + done, waiting - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) _exit(1);
        done += (size_t)n;
    }
    waiting = 0;
}

static void append(const void *data, size_t len) {
    if (waiting + len > sizeof out) flush();
    if (len) memcpy(out + waiting, data, len);
    waiting += len;
}

static void send_record(uint8_t type, const char *name, const struct stat *st, const char *payload, size_t len) {
    unsigned char header[TREE_HEADER];
    struct tree_record record = {.type = type, .name_length = (uint16_t)strlen(name), .number = (uint32_t)len};
    if (st) {
        record.time = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
        record.size = (uint64_t)st->st_size;
        if (type != TREE_LINK) record.number = st->st_mode & 07777;
    }
    tree_encode(header, &record);
    append(header, sizeof header);
    append(name, strlen(name));
    append(payload, len);
}

static void skip(const char *name, const char *why) {
    incomplete = true;
    send_record(TREE_SKIPPED, name, NULL, why, strlen(why));
}

static void send_end(uint64_t size, bool broken) {
    unsigned char header[TREE_HEADER];
    tree_encode(header, &(struct tree_record){.type = TREE_END, .number = broken, .size = size});
    append(header, sizeof header);
}

/* One DATA record, read straight into what is sent; bytes read, 0 at the end, or -1. */
static ssize_t send_data(int fd, off_t offset, size_t most) {
    flush();
    ssize_t n = pread(fd, out + TREE_HEADER, most < TREE_CHUNK ? most : TREE_CHUNK, offset);
    if (n <= 0) return n;
    tree_encode(out, &(struct tree_record){.type = TREE_DATA, .number = (uint32_t)n, .time = offset});
    waiting = TREE_HEADER + (size_t)n;
    return n;
}

/* The exact size, or -1. A file that says it is empty may be one of the kernel's own, which are read to their end. */
static off_t send_content(int fd, off_t size) {
    off_t at = 0, end = size;
    if (size == 0) end = (off_t)1 << 30;
    while (at < end) {
        off_t data = size ? lseek(fd, at, SEEK_DATA) : at;
        if (data < 0 && errno == ENXIO) return size; /* a hole to the end */
        if (data < 0) data = at;
        off_t hole = size ? lseek(fd, data, SEEK_HOLE) : end;
        if (hole < 0 || hole > end) hole = end;
        for (at = data; at < hole;) {
            ssize_t n = send_data(fd, at, (size_t)(hole - at));
            if (n < 0) return -1;
            if (n == 0) return at;
            at += n;
        }
    }
    return size ? size : at;
}

static void send_file(int fd, const char *name, const struct stat *st) {
    send_record(TREE_FILE, name, st, NULL, 0);
    off_t size = send_content(fd, st->st_size);
    int error = errno;
    send_end(size < 0 ? 0 : (uint64_t)size, size < 0);
    if (size < 0) skip(name, strerror(error));
}

static bool is_kernels_own(int fd) {
    static const long types[] = {0x9fa0, 0x62656572, 0x63677270, 0x64626720, 0x74726163, 0x73636673, 0xcafe4a11, 0x62656570};
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0) return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((long)fs.f_type == types[i]) return true;
    return false;
}

static void send_entry(int dir, const char *name, int depth);

static void send_directory(int fd, const char *name, const struct stat *st, int depth) {
    if (depth > 0 && is_kernels_own(fd)) {
        skip(name, "a file system of the kernel's is not copied");
        close(fd);
        return;
    }
    DIR *dir = depth < TREE_DEPTH ? fdopendir(fd) : NULL;
    if (!dir) {
        skip(name, depth < TREE_DEPTH ? strerror(errno) : "too deep");
        close(fd);
        return;
    }
    send_record(TREE_DIRECTORY, name, st, NULL, 0);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) send_entry(dirfd(dir), entry->d_name, depth + 1);
    send_end(0, false);
    closedir(dir);
}

static void send_link(int dir, const char *name, const struct stat *st) {
    char target[TREE_TARGET + 1];
    ssize_t n = readlinkat(dir, name, target, sizeof target);
    if (n < 0 || n > TREE_TARGET)
        skip(name, n < 0 ? strerror(errno) : "the link is too long");
    else
        send_record(TREE_LINK, name, st, target, (size_t)n);
}

static void send_entry(int dir, const char *name, int depth) {
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        skip(name, strerror(errno));
    } else if (S_ISLNK(st.st_mode)) {
        send_link(dir, name, &st);
    } else if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        skip(name, "devices, pipes and sockets are not copied");
    } else {
        int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | O_NOFOLLOW);
        if (fd < 0 || fstat(fd, &st) < 0) {
            skip(name, strerror(errno));
        } else if (S_ISDIR(st.st_mode)) {
            send_directory(fd, name, &st, depth);
            return;
        } else {
            send_file(fd, name, &st);
        }
        if (fd >= 0) close(fd);
    }
}

int tree_read(const struct json *request) {
    char path[4300];
    struct stat st;
    tree_begin(request, path, sizeof path);
    int fd = stat(path, &st) < 0 ? -1 : S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -2;
    if (fd == -2) process_refuse("bad-request", 0, "devices, pipes and sockets are not copied");
    if (fd < 0 || fstat(fd, &st) < 0) process_refuse(NULL, errno, path);
    process_started(NULL);
    fcntl(1, F_SETPIPE_SZ, 1 << 20);
    if (S_ISDIR(st.st_mode))
        send_directory(fd, "", &st, 0);
    else
        send_file(fd, "", &st);
    append((unsigned char[TREE_HEADER]){TREE_DONE}, TREE_HEADER);
    flush();
    return incomplete ? 1 : 0;
}
