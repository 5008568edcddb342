/* Who a process runs as, from the guest's own passwd and group files (a static program has no NSS). */
#ifndef BANGER_USER_H
#define BANGER_USER_H
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "json.h"

enum { USER_GROUPS = 64 };

struct user {
    uid_t uid;
    gid_t gid;
    gid_t groups[USER_GROUPS];
    size_t group_count;
    char name[64], home[256], shell[256];
};

/* who: absent (whoever the agent runs as: root), a name, or a number. False when there is no such user. */
bool user_find(const struct json *who, struct user *user);
/* In a child: become this user for good. 0 or -1 with errno. */
int user_become(const struct user *user);
#endif
