/* From the initramfs to the image's init. */
#ifndef BANGER_BOOT_H
#define BANGER_BOOT_H
#include <stdbool.h>

#include "json.h"

/* Does not return in PID 1 unless the agent stays the init; the serving process returns and goes on. */
void boot_run(char *argv0);
/* Report, give the host a moment to hear it, power off. */
void boot_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* modules.c: load what the initramfs carries, in its order. NULL or what went wrong (static text). */
const char *modules_load(void);

/* disk.c */
/* The disk whose ext4 superblock has this UUID, if it is there. */
bool disk_find(const char *uuid, char *device, int size);
/* Wait for it, at boot, running the loop meanwhile; false when it did not come in time. */
bool disk_wait(const char *uuid, int timeout_ms, char *device, int size);
/* Grow the mounted ext4 to its device, when it is smaller, in a process of its own: online growing takes a while and
 * nobody needs the room at once. */
void disk_grow(const char *device, const char *mount_point);

/* mount.c */
/* Split "ro,noatime,x=y" into flags and the rest. */
unsigned long mount_flags(const char *options, char *rest, int size);
void mount_early(void);
/* Move the early mounts, make the mounted root the root, mount what an init expects. */
bool mount_switch_root(const char *new_root);
void mount_run_time(void);
void mount_make_directory(const char *path, unsigned mode);
#endif
