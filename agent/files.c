#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "process.h"

static char part_path[4200]; /* removed when the host goes away in the middle */

static const char *find_path(const struct json *request) {
    const char *path = json_text(request, "path", NULL);
    if (!path || path[0] != '/' || strlen(path) > 4000) process_refuse("bad-request", 0, "path must be absolute");
    return path;
}

static void refuse_path(const char *verb, const char *path) {
    int error = errno;
    char what[4200];
    snprintf(what, sizeof what, "cannot %s '%s'", verb, path);
    process_refuse(NULL, error, what);
}

/* Exit code 0, or 1 with one line on stderr. */
static int copy(int from, int to) {
    static char chunk[65536];
    ssize_t n;
    while ((n = read(from, chunk, sizeof chunk)) > 0) {
        for (ssize_t done = 0; done < n;) {
            ssize_t m = write(to, chunk + done, (size_t)(n - done));
            if (m < 0) return errno;
            done += m;
        }
    }
    return n < 0 ? errno : 0;
}

static int fail(const char *path, int error) {
    dprintf(2, "%s: %s\n", path, strerror(error));
    return 1;
}

int file_read(const struct json *request) {
    const char *path = find_path(request);
    struct stat st;
    struct buffer info = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) refuse_path("read", path);
    if (!S_ISREG(st.st_mode)) process_refuse("bad-request", 0, "not a regular file");
    json_begin(&info, '{');
    json_member_number(&info, "size", st.st_size);
    json_member_number(&info, "mode", st.st_mode & 07777);
    json_member_number(&info, "uid", st.st_uid);
    json_member_number(&info, "gid", st.st_gid);
    json_member_number(&info, "mtime", st.st_mtime);
    json_end(&info, '}');
    process_started(buffer_string(&info));
    int error = copy(fd, 1);
    return error ? fail(path, error) : 0;
}

static void make_parents(const char *path) {
    char part[4200];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = part + 1; (at = strchr(at, '/')); *at++ = '/') {
        *at = 0;
        if (mkdir(part, 0755) < 0 && errno != EEXIST) refuse_path("make the directory", part);
    }
}

static void remove_part(int number) {
    unlink(part_path);
    _exit(128 + number);
}

static int finish_write(const struct json *request, const char *path, int fd) {
    uid_t uid = (uid_t)json_number(request, "uid", 0);
    gid_t gid = (gid_t)json_number(request, "gid", 0);
    if (geteuid() == 0 && fchown(fd, uid, gid) < 0) return errno;
    if (fchmod(fd, (mode_t)json_number(request, "mode", 0644) & 07777) < 0) return errno;
    if (fsync(fd) < 0 || rename(part_path, path) < 0) return errno;
    return 0;
}

int file_write(const struct json *request) {
    const char *path = find_path(request);
    if (json_true(request, "parents")) make_parents(path);
    snprintf(part_path, sizeof part_path, "%s.banger-%d", path, (int)getpid());
    int fd = open(part_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) refuse_path("write", path);
    signal(SIGHUP, remove_part);
    signal(SIGTERM, remove_part);
    process_started(NULL);
    int error = copy(0, fd);
    if (!error) error = finish_write(request, path, fd);
    if (!error) return 0;
    unlink(part_path);
    return fail(path, error);
}
