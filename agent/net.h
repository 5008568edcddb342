/* The guest's interface. */
#ifndef BANGER_NET_H
#define BANGER_NET_H
#include <stdbool.h>

#include "json.h"

void net_up_loopback(void);
/* Whether the interface that config.network wants exists, or none is wanted. */
bool net_is_there(const struct json *network);
/* Configure the interface with the MAC address of config.network; NULL or what went wrong (static text). */
const char *net_configure(const struct json *network);
#endif
