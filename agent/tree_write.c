/* tree-write: records on stdin become files and directories of the guest. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"
#include "process.h"
#include "tree.h"

struct open_directory {
    int fd;
    bool made; /* by this copy: then mode and time are the source's */
    mode_t mode;
    int64_t time;
};

static struct open_directory stack[TREE_DEPTH + 1];
static int depth;                    /* of the stack; stack[0] is where everything goes */
static volatile int part_dir = -1;   /* where the unfinished file is */
static char part_name[40], root_name[TREE_NAME + 1];
static bool incomplete, merge;       /* merge: the root's directory is stack[0] itself */
static unsigned char payload[TREE_CHUNK];

/* The file being written; fd -1: it cannot be, and its DATA are thrown away. */
static struct {
    bool open;
    int fd;
    mode_t mode;
    int64_t time;
    char name[TREE_NAME + 1];
} current = {.fd = -1};

static void remove_part(void) {
    if (part_dir >= 0) unlinkat(part_dir, part_name, 0);
    part_dir = -1;
}

static void cut_off(int number) {
    remove_part();
    _exit(128 + number);
}

static void complain(const char *name, int error) {
    dprintf(2, "%s: %s\n", name[0] ? name : root_name, strerror(error));
    incomplete = true;
    if (error == ENOSPC || error == EDQUOT || error == EIO || error == EROFS) {
        remove_part();
        _exit(1);
    }
}

static void read_exactly(void *into, size_t len) {
    for (size_t done = 0; done < len;) {
        ssize_t n = read(0, (char *)into + done, len - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) cut_off(0);
        done += (size_t)n;
    }
}

static struct timespec *times(int64_t ns, struct timespec both[2]) {
    both[0] = (struct timespec){.tv_nsec = UTIME_NOW};
    both[1] = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    if (both[1].tv_nsec < 0) both[1] = (struct timespec){.tv_sec = both[1].tv_sec - 1, .tv_nsec = both[1].tv_nsec + 1000000000};
    return both;
}

static int here(void) { return stack[depth].fd; }

static void choose_part_name(void) {
    static unsigned count;
    snprintf(part_name, sizeof part_name, ".banger-%d-%u", (int)getpid(), count++);
}

/* What must not be replaced: a directory, and whatever is neither a file nor a link. */
static int check_target(const char *name) {
    struct stat st;
    if (fstatat(here(), name, &st, AT_SYMLINK_NOFOLLOW) < 0) return errno == ENOENT ? 0 : errno;
    return S_ISDIR(st.st_mode) ? EISDIR : S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? 0 : EEXIST;
}

static void begin_file(const struct tree_record *record, const char *name) {
    current.open = true;
    current.mode = record->number & 07777;
    current.time = record->time;
    snprintf(current.name, sizeof current.name, "%s", name);
    int error = check_target(name);
    choose_part_name();
    current.fd = error ? -1 : openat(here(), part_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (current.fd < 0)
        complain(name, error ? error : errno);
    else
        part_dir = here();
}

static void give_up_file(int error) {
    close(current.fd);
    current.fd = -1;
    remove_part();
    complain(current.name, error);
}

static void take_data(const struct tree_record *record) {
    for (uint32_t done = 0; current.fd >= 0 && done < record->number;) {
        ssize_t n = pwrite(current.fd, payload + done, record->number - done, record->time + done);
        if (n < 0 && errno != EINTR) give_up_file(errno);
        if (n > 0) done += (uint32_t)n;
    }
}

static void end_file(const struct tree_record *record) {
    struct timespec both[2];
    current.open = false;
    if (current.fd < 0) return;
    if (record->number) {
        close(current.fd);
        current.fd = -1;
        remove_part();
        incomplete = true;
        return;
    }
    if (ftruncate(current.fd, (off_t)record->size) < 0 || fchmod(current.fd, current.mode) < 0 ||
        futimens(current.fd, times(current.time, both)) < 0 || renameat(here(), part_name, here(), current.name) < 0) {
        give_up_file(errno);
        return;
    }
    part_dir = -1;
    if (close(current.fd) < 0) complain(current.name, errno);
    current.fd = -1;
}

static void make_link(const struct tree_record *record, const char *name) {
    struct timespec both[2];
    char target[TREE_TARGET + 1];
    memcpy(target, payload, record->number);
    target[record->number] = 0;
    int error = check_target(name);
    choose_part_name();
    if (!error && symlinkat(target, here(), part_name) < 0) error = errno;
    if (!error) {
        utimensat(here(), part_name, times(record->time, both), AT_SYMLINK_NOFOLLOW);
        if (renameat(here(), part_name, here(), name) < 0) {
            error = errno;
            unlinkat(here(), part_name, 0);
        }
    }
    if (error) complain(name, error);
}

static void enter(const struct tree_record *record, const char *name) {
    struct open_directory next = {.fd = -1, .mode = record->number & 07777, .time = record->time};
    if (depth == TREE_DEPTH) cut_off(0);
    if (here() < 0) {
        /* below what could not be made */
    } else if (merge && depth == 0) {
        next.fd = fcntl(here(), F_DUPFD_CLOEXEC, 3);
    } else {
        next.made = mkdirat(here(), name, 0700) == 0;
        int error = next.made || errno == EEXIST ? 0 : errno;
        if (!error) next.fd = openat(here(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next.fd < 0) complain(name, error ? error : errno);
    }
    stack[++depth] = next;
}

static void leave(void) {
    struct open_directory *dir = &stack[depth];
    struct timespec both[2];
    if (depth == 0) cut_off(0);
    if (dir->fd >= 0 && dir->made && (fchmod(dir->fd, dir->mode) < 0 || futimens(dir->fd, times(dir->time, both)) < 0)) complain("a directory", errno);
    if (dir->fd >= 0) close(dir->fd);
    depth--;
}

static bool is_name(const char *name) { return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 && !strchr(name, '/'); }

static void check(const struct tree_record *record, const char *name) {
    bool named = strchr("DFL", record->type) != NULL, carries = strchr("CL", record->type) != NULL;
    if (strlen(name) != record->name_length || (carries && record->number > (record->type == TREE_LINK ? TREE_TARGET : TREE_CHUNK))) cut_off(0);
    if ((named && depth > 0 && !is_name(name)) || (!named && record->name_length)) cut_off(0);
    bool of_file = record->type == TREE_DATA || (record->type == TREE_END && current.open);
    if (current.open != of_file) cut_off(0);
}

/* False after the last one. */
static bool take_record(void) {
    unsigned char header[TREE_HEADER];
    struct tree_record record;
    char name[TREE_NAME + 1] = "";
    read_exactly(header, sizeof header);
    tree_decode(header, &record);
    if (record.name_length > TREE_NAME) cut_off(0);
    read_exactly(name, record.name_length);
    check(&record, name);
    if (record.type == TREE_DATA || record.type == TREE_LINK) read_exactly(payload, record.number);
    const char *target = depth == 0 ? root_name : name;
    bool lost = here() < 0;
    switch (record.type) {
    case TREE_DIRECTORY: enter(&record, target); break;
    case TREE_FILE:
        if (lost)
            current.open = true;
        else
            begin_file(&record, target);
        break;
    case TREE_DATA: take_data(&record); break;
    case TREE_END:
        if (current.open)
            end_file(&record);
        else
            leave();
        break;
    case TREE_LINK:
        if (!lost) make_link(&record, target);
        break;
    case TREE_DONE:
        if (depth) cut_off(0);
        return false;
    default: cut_off(0);
    }
    return true;
}

/* Splits the path into the directory (opened) and the name in it, as cp does: an existing directory takes the source
 * under its own name, everything else is the new name. */
static void choose_root(char *path, const char *base, bool is_directory) {
    struct stat st;
    char real[4300];
    size_t len = strlen(path);
    bool slash = len > 1 && path[len - 1] == '/', there = stat(path, &st) == 0;
    while (len > 1 && path[len - 1] == '/') path[--len] = 0;
    if (there && S_ISDIR(st.st_mode)) {
        merge = is_directory && !is_name(base);
        if (!merge && !is_name(base)) process_refuse("bad-request", 0, "it is a directory: name the file in it");
        snprintf(root_name, sizeof root_name, "%s", base);
        stack[0].fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (stack[0].fd < 0) process_refuse(NULL, errno, path);
        return;
    }
    if (there && (is_directory || slash)) process_refuse("bad-request", ENOTDIR, path);
    if (there && !S_ISREG(st.st_mode)) process_refuse("bad-request", 0, "the target is neither a file nor a directory");
    if (!there && slash && !is_directory) process_refuse("not-found", ENOENT, path);
    if (there && realpath(path, real)) path = real;
    char *name = strrchr(path, '/');
    if (!name || !is_name(name + 1) || strlen(name + 1) > TREE_NAME) process_refuse("bad-request", 0, "the target is not a name");
    snprintf(root_name, sizeof root_name, "%s", name + 1);
    name[name == path] = 0;
    stack[0].fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (stack[0].fd < 0) process_refuse(NULL, errno, path);
}

int tree_write(const struct json *request) {
    static char path[4300];
    tree_begin(request, path, sizeof path);
    const char *base = json_text(request, "base", "");
    if (strlen(base) > TREE_NAME) process_refuse("bad-request", 0, "the name is too long");
    choose_root(path, base, json_true(request, "directory"));
    signal(SIGHUP, cut_off);
    signal(SIGTERM, cut_off);
    process_started(NULL);
    fcntl(0, F_SETPIPE_SZ, 1 << 20);
    while (take_record()) continue;
    return incomplete ? 1 : 0;
}
