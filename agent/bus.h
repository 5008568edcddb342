/* Commands that talk to systemd, started before it listens: a VM takes commands earlier than that. */
#ifndef BANGER_BUS_H
#define BANGER_BUS_H
#include <stdbool.h>

/* Wait until what the command connects to is there, at most limit_ms. run: /run. False when it did not come; true at
 * once for every other command. */
bool bus_await(const char *command, bool is_root, const char *run, int limit_ms);
#endif
