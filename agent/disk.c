#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "loop.h"

#ifndef EXT4_IOC_RESIZE_FS
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, __u64)
#endif

enum { SUPER_OFFSET = 1024, SUPER_SIZE = 1024, RETRY_MS = 2 };

static uint32_t le32(const unsigned char *b) {
    return (uint32_t)b[3] << 24 | (uint32_t)b[2] << 16 | (uint32_t)b[1] << 8 | b[0];
}

static bool read_super(const char *device, unsigned char super[SUPER_SIZE]) {
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool whole = pread(fd, super, SUPER_SIZE, SUPER_OFFSET) == SUPER_SIZE;
    close(fd);
    return whole && super[0x38] == 0x53 && super[0x39] == 0xEF;
}

static bool has_uuid(const char *device, const char *uuid) {
    unsigned char super[SUPER_SIZE];
    char text[37];
    if (!read_super(device, super)) return false;
    for (int i = 0, at = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
        at += snprintf(text + at, sizeof text - (size_t)at, "%02x", super[0x68 + i]);
    }
    return strcasecmp(text, uuid) == 0;
}

bool disk_find(const char *uuid, char *device, int size) {
    bool found = false;
    DIR *dir = opendir("/sys/class/block");
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || strncmp(entry->d_name, "loop", 4) == 0 || strncmp(entry->d_name, "ram", 3) == 0) continue;
        snprintf(device, (size_t)size, "/dev/%.60s", entry->d_name);
        found = has_uuid(device, uuid);
    }
    if (dir) closedir(dir);
    return found;
}

bool disk_wait(const char *uuid, int timeout_ms, char *device, int size) {
    int64_t deadline = now_ms() + timeout_ms;
    while (!disk_find(uuid, device, size)) {
        if (now_ms() >= deadline) return false;
        loop_step(RETRY_MS);
    }
    return true;
}

void disk_grow(const char *device, const char *mount_point) {
    unsigned char super[SUPER_SIZE];
    __u64 bytes = 0;
    int disk = open(device, O_RDONLY | O_CLOEXEC);
    if (disk < 0 || ioctl(disk, BLKGETSIZE64, &bytes) < 0 || !read_super(device, super)) {
        if (disk >= 0) close(disk);
        return;
    }
    close(disk);
    bool wide = le32(super + 0x60) & 0x80; /* INCOMPAT_64BIT */
    __u64 block = 1024ull << le32(super + 0x18);
    __u64 have = le32(super + 0x04) | (wide ? (__u64)le32(super + 0x150) << 32 : 0), want = bytes / block;
    /* A last group that is too small for its own tables cannot be added: such a rest is no reason to try. */
    if (want <= have || want - have < 1024) return;
    if (fork() != 0) return; /* the loop reaps it; without a process the file system just stays small */
    loop_release_signals();
    int root = open(mount_point, O_RDONLY | O_CLOEXEC | O_DIRECTORY);
    if (root < 0 || ioctl(root, EXT4_IOC_RESIZE_FS, &want) < 0)
        log_line("cannot grow %s to its disk: %s", mount_point, strerror(errno));
    _exit(0);
}
