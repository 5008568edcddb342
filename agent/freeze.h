/* Quiet disks: sync, freeze, thaw. */
#ifndef BANGER_FREEZE_H
#define BANGER_FREEZE_H
#include <stdint.h>
#include <sys/types.h>

#include "json.h"

int freeze_sync(const struct json *request);
/* Freezes what is on disks; thaws by itself after timeout_s (30), should the host be gone. */
void freeze_request(uint32_t id, const struct json *request);
void freeze_child_exited(pid_t pid);
void thaw_request(uint32_t id, const struct json *request);
void freeze_collect(void);
void freeze_run_deadlines(void);
#endif
