#include "identity.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "boot.h"
#include "channel.h"
#include "frame.h"
#include "loop.h"
#include "net.h"

enum { DISK_TIMEOUT_MS = 10000, NIC_TIMEOUT_MS = 5000, RETRY_MS = 2, SEED_MAX = 512 };

static char problem[500];

/* What is being applied, and how far it is. */
static struct {
    const struct json *mount, *network; /* what is next; NULL: done */
    int64_t deadline;                   /* for the disk or the interface waited for */
} progress;

/* The request of a host that waits for its answer; 0: none. */
static struct {
    uint32_t id;
    struct json *config;
} asked;

bool identity_set_clock(int64_t clock_ns) {
    struct timespec time = {.tv_sec = clock_ns / 1000000000, .tv_nsec = clock_ns % 1000000000};
    return clock_ns > 0 && clock_settime(CLOCK_REALTIME, &time) == 0;
}

static int decode_base64(const char *text, unsigned char *out, int size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned bits = 0;
    int have = 0, len = 0;
    for (; *text && *text != '='; text++) {
        const char *found = strchr(digits, *text);
        if (!found) return -1;
        bits = bits << 6 | (unsigned)(found - digits);
        have += 6;
        if (have < 8) continue;
        have -= 8;
        if (len == size) return -1;
        out[len++] = (unsigned char)(bits >> have);
    }
    return len;
}

static void add_seed(const char *text) {
    struct {
        struct rand_pool_info info;
        unsigned char bytes[SEED_MAX];
    } pool;
    int len = decode_base64(text, (unsigned char *)pool.info.buf, SEED_MAX);
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    pool.info.buf_size = len;
    pool.info.entropy_count = len * 8;
    if (len <= 0 || fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0) log_line("cannot add the seed to the random pool");
    if (fd >= 0) ioctl(fd, RNDRESEEDCRNG);
    if (fd >= 0) close(fd);
}

void identity_apply_early(const struct json *config, bool at_boot) {
    struct timespec now;
    int64_t clock_ns = json_number(config, "clock_ns", 0);
    clock_gettime(CLOCK_REALTIME, &now);
    if (at_boot && (int64_t)now.tv_sec * 1000000000 + now.tv_nsec >= clock_ns) clock_ns = 0;
    const char *seed = json_text(config, "seed", NULL);
    if (clock_ns && !identity_set_clock(clock_ns)) log_line("cannot set the clock: %s", strerror(errno));
    if (seed) add_seed(seed);
}

static bool is_mounted(const char *target) {
    char line[1024], found[512];
    bool mounted = false;
    FILE *file = fopen("/proc/self/mounts", "re");
    while (file && !mounted && fgets(line, sizeof line, file))
        mounted = sscanf(line, "%*s %511s", found) == 1 && strcmp(found, target) == 0;
    if (file) fclose(file);
    return mounted;
}

/* Sets *waits when the disk is not there yet. NULL or what went wrong. */
static const char *mount_disk(const struct json *entry, bool *waits) {
    char device[80], rest[256];
    const char *uuid = json_text(entry, "uuid", ""), *target = json_text(entry, "target", "");
    if (target[0] != '/' || strlen(target) > 255) return "a mount's target must be an absolute path";
    if (is_mounted(target)) return NULL;
    if (!disk_find(uuid, device, sizeof device)) {
        *waits = now_ms() < progress.deadline;
        snprintf(problem, sizeof problem, "no disk with the UUID %.40s for %.255s appeared within 10 s", uuid, target);
        return *waits ? NULL : problem;
    }
    unsigned long flags = mount_flags(json_text(entry, "options", ""), rest, sizeof rest);
    mount_make_directory(target, 0755);
    if (mount(device, target, json_text(entry, "fstype", "ext4"), flags, rest[0] ? rest : NULL) < 0) {
        snprintf(problem, sizeof problem, "cannot mount %s on %.255s: %s", device, target, strerror(errno));
        return problem;
    }
    if (!(flags & MS_RDONLY)) disk_grow(device, target);
    return NULL;
}

static const char *begin(const struct json *config) {
    const struct json *mounts = json_get(config, "mounts");
    const char *hostname = json_text(config, "hostname", NULL);
    if (hostname && sethostname(hostname, strlen(hostname)) < 0) return "cannot set the host name";
    net_up_loopback();
    overlay_apply(config);
    progress.mount = mounts ? mounts->child : NULL;
    progress.network = json_get(config, "network");
    progress.deadline = now_ms() + (progress.mount ? DISK_TIMEOUT_MS : NIC_TIMEOUT_MS);
    return NULL;
}

/* As far as it goes without waiting; *waits says that it did not go to the end. */
static const char *advance(bool *waits) {
    *waits = false;
    while (progress.mount) {
        const char *wrong = mount_disk(progress.mount, waits);
        if (wrong || *waits) return wrong;
        progress.mount = progress.mount->next;
        progress.deadline = now_ms() + (progress.mount ? DISK_TIMEOUT_MS : NIC_TIMEOUT_MS);
    }
    if (!net_is_there(progress.network) && now_ms() < progress.deadline) {
        *waits = true;
        return NULL;
    }
    return net_configure(progress.network);
}

const char *identity_apply(const struct json *config) {
    bool waits = true;
    const char *wrong = begin(config);
    while (!wrong && waits) {
        wrong = advance(&waits);
        if (!wrong && waits) loop_step(RETRY_MS);
    }
    return wrong;
}

static void forget(void) {
    json_free(asked.config);
    asked.config = NULL;
    asked.id = 0;
}

static void answer(const char *wrong) {
    if (wrong) {
        channel_error(asked.id, "failed", wrong);
    } else {
        channel_send_text(FRAME_RESULT, asked.id, "{}");
        channel_event("ready", NULL);
    }
    forget();
}

bool identity_request(uint32_t id, struct json *request) {
    if (asked.id) {
        channel_error(id, "limit", "another identify is under way");
        return false;
    }
    asked.id = id;
    asked.config = request;
    identity_apply_early(request, false);
    const char *wrong = begin(request);
    if (wrong) answer(wrong);
    return true;
}

bool identity_has_stream(uint32_t id) { return asked.id && asked.id == id; }

void identity_drop(void) { forget(); }

void identity_collect(void) {
    if (asked.id) loop_wake_at(now_ms() + RETRY_MS);
}

void identity_run(void) {
    bool waits;
    if (!asked.id) return;
    const char *wrong = advance(&waits);
    if (wrong || !waits) answer(wrong);
}
