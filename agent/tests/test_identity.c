/* identify: answers when all is there, at its deadline, or not at all; and never runs the loop. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

static int test_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
static int test_sethostname(const char *name, size_t len);

#define mount test_mount
#define sethostname test_sethostname
#include "../identity.c"
#undef mount
#undef sethostname

static int64_t clock_ms = 1000, wake;
static bool has_disk, has_nic;
static int mounted, configured;
static char said[600];

static int test_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data) {
    (void)type, (void)flags, (void)data;
    CHECK(strcmp(source, "/dev/vdb") == 0 && strncmp(target, "/banger-test/", 13) == 0);
    mounted++;
    return 0;
}

static int test_sethostname(const char *name, size_t len) {
    CHECK(strlen(name) == len);
    return 0;
}

void log_line(const char *format, ...) { CHECK(!format); }
int64_t now_ms(void) { return clock_ms; }
void loop_step(int timeout_ms) { CHECK(timeout_ms < 0 && "the loop runs from inside a handler"); }
void loop_wake_at(int64_t when) { wake = when; }
void overlay_apply(const struct json *config) { CHECK(config); }
unsigned long mount_flags(const char *options, char *rest, int size) { return (unsigned long)snprintf(rest, (size_t)size, "%s", options) * 0; }
void mount_make_directory(const char *path, unsigned mode) { CHECK(path && mode); }
void disk_grow(const char *device, const char *mount_point) { CHECK(device && mount_point); }
void net_up_loopback(void) {}
bool net_is_there(const struct json *network) { return !network || has_nic; }

bool disk_find(const char *uuid, char *device, int size) {
    CHECK(strcmp(uuid, "u") == 0);
    snprintf(device, (size_t)size, "/dev/vdb");
    return has_disk;
}

const char *net_configure(const struct json *network) {
    configured++;
    return net_is_there(network) ? NULL : "network: no such interface";
}

void channel_error(uint32_t stream, const char *code, const char *message) { snprintf(said, sizeof said, "%u ERROR %s %s", stream, code, message); }
void channel_event(const char *event, const char *message) { strcat(strcat(strcat(said, " "), event), message ? message : ""); }

void channel_send_text(uint8_t type, uint32_t stream, const char *json) {
    CHECK(type == FRAME_RESULT);
    snprintf(said, sizeof said, "%u RESULT %s", stream, json);
}

static void ask(uint32_t id, bool taken) {
    static const char text[] = "{\"hostname\":\"h\",\"mounts\":[{\"uuid\":\"u\",\"target\":\"/banger-test/a\"},{\"uuid\":\"u\",\"target\":\"/banger-test/b\"}],\"network\":{\"mac\":\"m\"}}";
    struct json *request = json_parse(text, strlen(text));
    said[0] = 0;
    CHECK(identity_request(id, request) == taken);
    if (!taken) json_free(request);
}

static void step(int64_t ms) {
    clock_ms += ms;
    wake = 0;
    identity_collect();
    identity_run();
}

static void reset(bool disk, bool nic) {
    has_disk = disk;
    has_nic = nic;
    mounted = configured = 0;
}

int main(void) {
    reset(false, false);
    ask(7, true);
    step(0);
    CHECK(!said[0] && wake > 0 && identity_has_stream(7) && !identity_has_stream(0));
    ask(8, false);
    CHECK(strncmp(said, "8 ERROR limit", 13) == 0);
    said[0] = 0;
    has_disk = true;
    step(9000);
    CHECK(!said[0] && mounted == 2 && !configured);
    has_nic = true;
    step(4000); /* the interface has its own time */
    CHECK(strcmp(said, "7 RESULT {} ready") == 0 && configured == 1 && !identity_has_stream(7));
    said[0] = 0;
    step(1);
    CHECK(!said[0] && !wake);

    reset(false, true);
    ask(9, true);
    step(9999);
    CHECK(!said[0]);
    step(1);
    CHECK(strstr(said, "9 ERROR failed no disk with the UUID u for /banger-test/a") && !identity_has_stream(9));

    reset(true, false);
    ask(10, true);
    step(5000);
    CHECK(!said[0]); /* the disks came a moment ago */
    step(5000);
    CHECK(strstr(said, "10 ERROR failed network"));

    reset(true, true);
    ask(11, true);
    identity_drop();
    step(1);
    CHECK(!said[0] && !mounted);
    ask(12, true);
    step(1);
    CHECK(strcmp(said, "12 RESULT {} ready") == 0);
    PASSED();
    return 0;
}
