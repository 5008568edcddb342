/* An image's host keys go, everything else stays, and a key of the machine's own comes. */
#include "../hostkeys.c"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "check.h"

static char base[] = "/tmp/agent-hostkeys-XXXXXX";
static int logged;

void log_line(const char *format, ...) {
    CHECK(format);
    logged++;
}

static void make(const char *name, const char *content, mode_t mode) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", base, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    CHECK(fd >= 0 && write(fd, content, strlen(content)) == (ssize_t)strlen(content));
    close(fd);
}

static bool is_there(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", base, name);
    return access(path, F_OK) == 0;
}

static void bring_keys(void) {
    make("ssh_host_rsa_key", "baked", 0600);
    make("ssh_host_rsa_key.pub", "baked", 0644);
    make("ssh_host_ed25519_key", "baked", 0600);
    make("ssh_host_ed25519_key-cert.pub", "baked", 0644);
}

int main(void) {
    static const char *others[] = {"sshd_config", "ssh_host_rsa_key.pub.old", "ssh_host_note", "my_ssh_host_rsa_key"};
    char keygen[200], slow[200], command[300];
    CHECK(mkdtemp(base));
    make("keygen", "#!/bin/sh\n[ \"$*\" = \"-q -t ed25519 -N  -C  -f ${0%/*}/ssh_host_ed25519_key\" ] || exit 1\necho own >\"${0%/*}/ssh_host_ed25519_key\"\n", 0755);
    make("slow", "#!/bin/sh\nexec sleep 2\n", 0755);
    snprintf(keygen, sizeof keygen, "%s/keygen", base);
    snprintf(slow, sizeof slow, "%s/slow", base);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) make(others[i], "stays", 0644);

    CHECK(!hostkeys_renew(base, keygen, 10000) && !is_there("ssh_host_ed25519_key") && logged == 0);
    bring_keys();
    CHECK(hostkeys_renew(base, keygen, 10000));
    CHECK(!is_there("ssh_host_rsa_key") && !is_there("ssh_host_rsa_key.pub") && !is_there("ssh_host_ed25519_key-cert.pub"));
    snprintf(command, sizeof command, "grep -qx own %s/ssh_host_ed25519_key", base);
    CHECK(is_there("ssh_host_ed25519_key") && system(command) == 0 && logged == 1);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) CHECK(is_there(others[i]));

    bring_keys();
    CHECK(hostkeys_renew(base, "/nonexistent/keygen", 10000) && !is_there("ssh_host_ed25519_key") && logged == 3);
    bring_keys();
    CHECK(hostkeys_renew(base, slow, 20) && !is_there("ssh_host_rsa_key") && logged == 5);
    CHECK(!hostkeys_renew("/nonexistent", keygen, 10000));
    snprintf(command, sizeof command, "rm -r %s", base);
    CHECK(system(command) == 0);
    PASSED();
    return 0;
}
