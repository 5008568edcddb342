/* What every part shares: the agent's state, the log and the clock. */
#ifndef BANGER_AGENT_H
#define BANGER_AGENT_H
#include <stdbool.h>
#include <stdint.h>

#ifndef BANGER_VERSION
#define BANGER_VERSION "unknown"
#endif
#ifndef BANGER_COMMIT
#define BANGER_COMMIT "unknown"
#endif
#ifndef BANGER_BUILT_AT
#define BANGER_BUILT_AT "unknown"
#endif

enum agent_state { STATE_BOOTING, STATE_READY, STATE_FAILED };

struct agent {
    enum agent_state state;
    char message[1024]; /* why the boot failed */
    bool is_init;       /* this process is PID 1 and stays it */
    bool has_systemd;   /* the image's init is systemd */
    int log_fd;
};

extern struct agent agent;

/* One line, prefixed "banger-agent: ", to the console (or stderr when not in a guest). */
void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
int64_t now_ms(void);
#endif
