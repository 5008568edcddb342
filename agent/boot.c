#include "boot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent.h"
#include "channel.h"
#include "hostkeys.h"
#include "identity.h"
#include "loop.h"
#include "net.h"
#include "power.h"

#define NEW_ROOT "/root.banger"

enum { ROOT_TIMEOUT_MS = 10000, CHANNEL_TIMEOUT_MS = 10000, HEAR_MS = 5000, LAST_WORDS_MS = 300, KEYGEN_MS = 10000 };

static struct json *config;

static const char *port_name(void) { return json_text(json_get(config, "channel"), "name", "org.banger.agent"); }

static bool is_vsock(void) { return strcmp(json_text(json_get(config, "channel"), "kind", ""), "vsock") == 0; }

static void pump(int timeout_ms) {
    if (is_vsock())
        channel_listen_vsock((unsigned)json_number(json_get(config, "channel"), "port", 0));
    else
        channel_open_virtio(port_name());
    loop_step(timeout_ms);
}

void boot_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(agent.message, sizeof agent.message, format, args);
    va_end(args);
    agent.state = STATE_FAILED;
    log_line("boot failed: %s", agent.message);
    channel_event("boot-failed", agent.message);
    /* A host that is not there yet finds the message in the answer to its HELLO. */
    int64_t deadline = now_ms() + HEAR_MS, heard = 0;
    while (now_ms() < deadline && (!heard || now_ms() < heard + LAST_WORDS_MS)) {
        pump(5);
        if (!heard && channel_has_host() && channel_is_flushed()) heard = now_ms();
    }
    power_off_now();
    _exit(1);
}

static void read_config(void) {
    struct buffer text = {0};
    int error = buffer_read_file(&text, "/banger/config.json", 1 << 20);
    config = error ? NULL : json_parse(buffer_string(&text), text.len);
    buffer_free(&text);
    if (error) boot_fail("no configuration in the initramfs: %s", strerror(-error));
    if (!config || json_number(config, "version", 0) != 1) boot_fail("the configuration in the initramfs is not valid, or not of version 1");
}

static void mount_root(void) {
    char device[80];
    const struct json *root = json_get(config, "root");
    const char *uuid = json_text(root, "uuid", "");
    unsigned long flags = json_true(root, "readonly") ? MS_RDONLY : MS_NOATIME;
    pump(0);
    if (!disk_wait(uuid, ROOT_TIMEOUT_MS, device, sizeof device)) boot_fail("no disk with the root's UUID %.40s appeared within 10 s", uuid);
    if (mount(device, NEW_ROOT, "ext4", flags, NULL) < 0) boot_fail("cannot mount the root %s: %s", device, strerror(errno));
    pump(0);
    if (!mount_switch_root(NEW_ROOT)) boot_fail("cannot switch to the root: %s", strerror(errno));
    mount_run_time();
    if (!json_true(root, "readonly")) disk_grow(device, "/");
}

/* On /lib/modules/<release>; when the image has no such directory, in a small tmpfs laid over /lib/modules. */
static void mount_modules(void) {
    const struct json *disk = json_get(config, "modules_disk");
    const char *uuid = json_text(disk, "uuid", NULL), *release = json_text(disk, "kernel_release", "");
    char device[80], target[300];
    struct stat st;
    if (!uuid) return;
    snprintf(target, sizeof target, "/lib/modules/%.200s", release);
    if (!disk_wait(uuid, ROOT_TIMEOUT_MS, device, sizeof device)) boot_fail("no disk with the modules' UUID %.40s appeared within 10 s", uuid);
    if (stat(target, &st) < 0) {
        mkdir("/lib", 0755);
        mkdir("/lib/modules", 0755);
        mount("tmpfs", "/lib/modules", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64k");
        mkdir(target, 0755);
    }
    if (mount(device, target, "ext4", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) < 0) boot_fail("cannot mount the modules' disk %s: %s", device, strerror(errno));
}

static const char *find_init(void) {
    static const char *paths[] = {"/sbin/init", "/usr/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/etc/init", "/bin/init"};
    const char *wanted = json_text(config, "init", "auto");
    if (strcmp(wanted, "agent") == 0) return NULL;
    if (strcmp(wanted, "auto") != 0) {
        if (access(wanted, X_OK) < 0) boot_fail("the image has no init at %s: %s", wanted, strerror(errno));
        return wanted;
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (access(paths[i], X_OK) == 0) return paths[i];
    return NULL;
}

static void wait_channel(void) {
    int64_t deadline = now_ms() + CHANNEL_TIMEOUT_MS;
    while (!channel_is_open()) {
        if (now_ms() >= deadline && is_vsock()) boot_fail("the kernel takes no vsock connections within 10 s");
        if (now_ms() >= deadline) boot_fail("no virtio port with the name %s appeared within 10 s", port_name());
        pump(2);
    }
}

static void use_as_standard(const char *path) {
    int fd = open(path, O_RDWR | O_NOCTTY);
    if (fd < 0) return;
    for (int n = 0; n < 3; n++) dup2(fd, n);
    if (fd > 2) close(fd);
}

/* systemd and others spare a process whose name starts with '@' when they end everything. The new name may run over
 * the environment the kernel put behind argv[0]; nothing reads that here. */
static void take_server_name(char *argv0) {
    static const char name[] = "@banger-agent";
    extern char **environ;
    char *end = argv0 + strlen(argv0) + 1;
    for (char **item = environ; *item && *item == end; item++) end += strlen(end) + 1;
    if ((size_t)(end - argv0) >= sizeof name) memcpy(argv0, name, sizeof name);
    prctl(PR_SET_NAME, "banger-agent");
}

static void protect_from_oom(void) {
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "-1000", 5) < 0) log_line("cannot set oom_score_adj");
    if (fd >= 0) close(fd);
}

static void become_init(const char *path) {
    static char *const environment[] = {"HOME=/", "TERM=linux", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    char *argv[] = {(char *)(uintptr_t)path, NULL};
    loop_release_signals();
    umask(022);
    use_as_standard("/dev/console");
    execve(path, argv, environment);
    log_line("cannot run the init %s: %s", path, strerror(errno));
    sleep(1);
    power_off_now();
}

/* Known before anything is put under /run: a directory /run/systemd/system makes programs believe in systemd. */
static const char *choose_init(void) {
    char path[PATH_MAX];
    const char *init = find_init();
    agent.is_init = init == NULL;
    if (init && realpath(init, path)) agent.has_systemd = strcmp(strrchr(path, '/'), "/systemd") == 0;
    return init;
}

static void hand_over(const char *init, char *argv0) {
    if (init) {
        pid_t child = fork();
        if (child < 0) boot_fail("cannot fork: %s", strerror(errno));
        if (child > 0) become_init(init);
        setsid();
    }
    take_server_name(argv0);
    protect_from_oom();
    use_as_standard("/dev/null");
    channel_take_over();
    agent.state = STATE_READY;
    channel_event("ready", NULL);
}

void boot_run(char *argv0) {
    mount_early();
    agent.log_fd = open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC);
    loop_start();
    const char *wrong = modules_load();
    if (wrong) log_line("%s", wrong);
    read_config();
    identity_apply_early(config, true);
    if (wrong) boot_fail("%s", wrong);
    mount_root();
    mount_modules();
    pump(0);
    const char *init = choose_init();
    wrong = identity_apply(config);
    if (wrong) boot_fail("%s", wrong);
    if (json_true(config, "first_start")) hostkeys_renew("/etc/ssh", "/usr/bin/ssh-keygen", KEYGEN_MS);
    wait_channel();
    hand_over(init, argv0);
}
