/* The requests a host can make, by name. */
#ifndef BANGER_REQUEST_H
#define BANGER_REQUEST_H
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

/* What HELLO and health say about this agent, as a JSON object. */
void request_describe(struct buffer *out);
void request_open(uint32_t id, const char *text, size_t len);
#endif
