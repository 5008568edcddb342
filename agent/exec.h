/* exec: run a program of the guest. */
#ifndef BANGER_EXEC_H
#define BANGER_EXEC_H
#include <stdint.h>

#include "json.h"

void exec_open(uint32_t id, const struct json *request);
#endif
