/* The one event loop: the channel, the streams, signals and a few deadlines. */
#ifndef BANGER_LOOP_H
#define BANGER_LOOP_H
#include <poll.h>
#include <stdint.h>

enum { LOOP_FDS = 3 + 4 * 256 };

typedef void loop_handler(void *owner, int fd, short revents);

void loop_start(void);
/* Children must not inherit the blocked signals. */
void loop_release_signals(void);
/* Within a round's collecting phase: wait for these events. */
void loop_watch(int fd, short events, loop_handler *handle, void *owner);
/* Within a round's collecting phase: do not sleep beyond this moment (now_ms scale). */
void loop_wake_at(int64_t when);
/* One round: wait at most timeout_ms (-1: for ever), handle what happened. Never from inside a handler. */
void loop_step(int timeout_ms);
#endif
