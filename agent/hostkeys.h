/* Host keys of sshd that an image brings: every VM of it would have the same. */
#ifndef BANGER_HOSTKEYS_H
#define BANGER_HOSTKEYS_H
#include <stdbool.h>

/* Before the init of a VM's first start: remove the keys from directory (/etc/ssh) and, if there were any, make an
 * Ed25519 one with the image's keygen. Waits for that, but no longer than limit_ms. True when there were any. */
bool hostkeys_renew(const char *directory, const char *keygen, int limit_ms);
#endif
