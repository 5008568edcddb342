/* Which locales the guest has: directories and the archive of the GNU C library. */
#ifndef BANGER_LOCALE_H
#define BANGER_LOCALE_H
#include <stdbool.h>

/* directory: where they lie, /usr/lib/locale. False for a name that is none. */
bool locale_is_there(const char *directory, const char *name);
#endif
