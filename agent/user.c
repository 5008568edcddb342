#include "user.h"

#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t split(char *line, char *fields[], size_t limit) {
    size_t count = 0;
    line[strcspn(line, "\n")] = 0;
    for (char *at = line; at && count < limit;) {
        fields[count++] = at;
        at = strchr(at, ':');
        if (at) *at++ = 0;
    }
    return count;
}

static void take_passwd(struct user *user, char *fields[]) {
    user->uid = (uid_t)strtoul(fields[2], NULL, 10);
    user->gid = (gid_t)strtoul(fields[3], NULL, 10);
    snprintf(user->name, sizeof user->name, "%s", fields[0]);
    snprintf(user->home, sizeof user->home, "%s", fields[5][0] ? fields[5] : "/");
    snprintf(user->shell, sizeof user->shell, "%s", fields[6][0] ? fields[6] : "/bin/sh");
}

static bool find_passwd(const char *name, const char *number, struct user *user) {
    char line[1024], *fields[7];
    bool found = false;
    FILE *file = fopen("/etc/passwd", "re");
    while (file && !found && fgets(line, sizeof line, file)) {
        if (split(line, fields, 7) < 7) continue;
        found = (name && strcmp(fields[0], name) == 0) || strcmp(fields[2], number) == 0;
        if (found) take_passwd(user, fields);
    }
    if (file) fclose(file);
    return found;
}

static bool is_member(const char *members, const char *name) {
    size_t len = strlen(name);
    for (const char *at = members; *at; at += strcspn(at, ","), at += *at == ',')
        if (strcspn(at, ",") == len && memcmp(at, name, len) == 0) return true;
    return false;
}

static void add_groups(struct user *user) {
    char line[4096], *fields[4];
    FILE *file = fopen("/etc/group", "re");
    user->groups[user->group_count++] = user->gid;
    while (file && user->group_count < USER_GROUPS && fgets(line, sizeof line, file)) {
        if (split(line, fields, 4) < 4 || !is_member(fields[3], user->name)) continue;
        gid_t gid = (gid_t)strtoul(fields[2], NULL, 10);
        if (gid != user->gid) user->groups[user->group_count++] = gid;
    }
    if (file) fclose(file);
}

static bool is_number(const char *text) { return *text && strspn(text, "0123456789") == strlen(text); }

/* A group that was named with the user is the only one, as container engines have it. */
static bool set_group(const char *name, struct user *user) {
    char line[4096], *fields[4];
    unsigned long value = is_number(name) ? strtoul(name, NULL, 10) : 0xFFFFFFFFul;
    FILE *file = fopen("/etc/group", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (split(line, fields, 4) < 4 || strcmp(fields[0], name) != 0) continue;
        value = strtoul(fields[2], NULL, 10);
        break;
    }
    if (file) fclose(file);
    if (value >= 0xFFFFFFFFul) return false;
    user->gid = user->groups[0] = (gid_t)value;
    user->group_count = 1;
    return true;
}

bool user_find(const struct json *who, struct user *user) {
    char number[24], own[256];
    const char *name = NULL, *group = NULL;
    memset(user, 0, sizeof *user);
    snprintf(number, sizeof number, "%u", (unsigned)geteuid());
    if (who && who->kind == JSON_STRING) name = who->text;
    if (name && (group = strchr(name, ':'))) {
        snprintf(own, sizeof own, "%.*s", (int)(group++ - name), name);
        name = *own ? own : "root";
    }
    if (who && who->kind == JSON_NUMBER) snprintf(number, sizeof number, "%" PRId64, who->number);
    if (name) snprintf(number, sizeof number, "%.23s", is_number(name) ? name : "none");
    if (!find_passwd(name, number, user)) {
        /* A number needs no entry, and neither does root. */
        bool root = name && strcmp(name, "root") == 0;
        unsigned long value = strtoul(number, NULL, 10);
        if ((!root && !is_number(number)) || value >= 0xFFFFFFFFul) return false;
        user->uid = user->gid = root ? 0 : (gid_t)value;
        snprintf(user->name, sizeof user->name, "%s", user->uid ? number : "root");
        snprintf(user->home, sizeof user->home, "%s", user->uid ? "/" : "/root");
        snprintf(user->shell, sizeof user->shell, "/bin/sh");
    }
    if (group) return set_group(group, user);
    add_groups(user);
    return true;
}

int user_become(const struct user *user) {
    if (geteuid() != 0) return user->uid == geteuid() ? 0 : setuid(user->uid);
    if (setgroups(user->group_count, user->groups) < 0 || setgid(user->gid) < 0) return -1;
    return setuid(user->uid);
}
