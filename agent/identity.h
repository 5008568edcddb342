/* Who this machine is: applied at boot from the configuration, and again by an identify request after a restore. */
#ifndef BANGER_IDENTITY_H
#define BANGER_IDENTITY_H
#include <stdbool.h>
#include <stdint.h>

#include "json.h"

/* Clock and random seed; needs nothing mounted. At boot the clock is only ever set forward: the configuration was written
 * before the machine started, and a real-time clock may know better by now. */
void identity_apply_early(const struct json *config, bool at_boot);
/* At boot, in a loop of its own: host name, network, run-time files, mounts; idempotent. NULL or what went wrong (static text). */
const char *identity_apply(const struct json *config);
bool identity_set_clock(int64_t clock_ns);
/* The same as a request. It never waits: each round of the loop goes on with what is missing until its deadline, and
 * then answers. True: it owns the request now. */
bool identity_request(uint32_t id, struct json *request);
bool identity_has_stream(uint32_t id);
/* Whoever asked is gone; what was not applied yet is left. */
void identity_drop(void);
void identity_collect(void);
void identity_run(void);
/* overlay.c: files under /run laid over the image's own. */
void overlay_apply(const struct json *config);
#endif
