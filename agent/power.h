/* Switching the machine off, through whoever is its init. */
#ifndef BANGER_POWER_H
#define BANGER_POWER_H
#include <stdint.h>

#include "json.h"

void power_request(uint32_t id, const struct json *request);
/* At once: write everything out, make the disks read-only, off. Never returns in a guest. */
void power_off_now(void);
void power_collect(void);
void power_run_deadlines(void);
#endif
