#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "freeze.h"
#include "identity.h"
#include "power.h"
#include "stream.h"

static struct pollfd fds[LOOP_FDS];
static struct {
    loop_handler *handle;
    void *owner;
} watchers[LOOP_FDS];
static int count;
static int64_t wake_at;
static int signal_fd = -1;

void loop_watch(int fd, short events, loop_handler *handle, void *owner) {
    if (fd < 0 || count == LOOP_FDS) return;
    fds[count] = (struct pollfd){.fd = fd, .events = events};
    watchers[count].handle = handle;
    watchers[count++].owner = owner;
}

void loop_wake_at(int64_t when) {
    if (wake_at < 0 || when < wake_at) wake_at = when;
}

void loop_start(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGIO);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

void loop_release_signals(void) {
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < 32; number++) signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void reap_children(void) {
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        stream_child_exited(pid, status);
        freeze_child_exited(pid);
    }
}

static void take_signals(void *owner, int fd, short revents) {
    struct signalfd_siginfo info;
    (void)owner, (void)revents;
    while (read(fd, &info, sizeof info) == sizeof info) {
        if (info.ssi_signo == SIGIO) channel_host_changed();
    }
    reap_children();
}

static int sleep_for(int timeout_ms) {
    if (wake_at < 0) return timeout_ms;
    int64_t left = wake_at - now_ms();
    if (left < 0) left = 0;
    return timeout_ms >= 0 && timeout_ms < left ? timeout_ms : (int)left;
}

void loop_step(int timeout_ms) {
    count = 0;
    wake_at = -1;
    loop_watch(signal_fd, POLLIN, take_signals, NULL);
    channel_collect();
    stream_collect();
    identity_collect();
    freeze_collect();
    power_collect();
    int ready = poll(fds, (nfds_t)count, sleep_for(timeout_ms));
    for (int i = 0; ready > 0 && i < count; i++)
        if (fds[i].revents) watchers[i].handle(watchers[i].owner, fds[i].fd, fds[i].revents);
    stream_run_deadlines();
    identity_run();
    freeze_run_deadlines();
    power_run_deadlines();
}
