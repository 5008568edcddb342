#include "hostkeys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

enum { STEP_MS = 5 };

static bool ends_with(const char *name, const char *end) {
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && strcmp(name + len - end_len, end) == 0;
}

/* Private, public and certified: ssh_host_rsa_key, ssh_host_rsa_key.pub, ssh_host_rsa_key-cert.pub. */
static bool is_host_key(const char *name) {
    return strncmp(name, "ssh_host_", 9) == 0 && (ends_with(name, "_key") || ends_with(name, "_key.pub") || ends_with(name, "_key-cert.pub"));
}

static int remove_keys(const char *directory) {
    DIR *dir = opendir(directory);
    int removed = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (!is_host_key(entry->d_name)) continue;
        if (unlinkat(dirfd(dir), entry->d_name, 0) == 0)
            removed++;
        else
            log_line("cannot remove the image's host key %s: %s", entry->d_name, strerror(errno));
    }
    if (dir) closedir(dir);
    return removed;
}

static void run_keygen(const char *directory, const char *keygen) {
    static char *const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/", NULL};
    char path[300];
    snprintf(path, sizeof path, "%s/ssh_host_ed25519_key", directory);
    const char *argv[] = {keygen, "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path, NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3 && null >= 0; fd++) dup2(null, fd);
    execve(keygen, (char *const *)(uintptr_t)argv, environment);
    _exit(127);
}

static void make_key(const char *directory, const char *keygen, int limit_ms) {
    int status = 0;
    pid_t pid = fork(), ended = 0;
    if (pid == 0) run_keygen(directory, keygen);
    for (int waited = 0; pid > 0 && (ended = waitpid(pid, &status, WNOHANG)) == 0 && waited < limit_ms; waited += STEP_MS) poll(NULL, 0, STEP_MS);
    if (ended != pid || status != 0) log_line("no host key was made for the image's sshd: %s", ended == pid ? "ssh-keygen failed" : "it takes too long");
}

/* A VM killed right after its start keeps the key that its clients have seen. */
static void write_out(const char *directory) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    syncfs(fd);
    close(fd);
}

bool hostkeys_renew(const char *directory, const char *keygen, int limit_ms) {
    if (remove_keys(directory) == 0) return false;
    log_line("the image's host keys are gone: this VM gets its own");
    make_key(directory, keygen, limit_ms);
    write_out(directory);
    return true;
}
