#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "report.h"

int report_print(struct buffer *text) {
    while (text->len > 0) {
        ssize_t n = write(1, buffer_front(text), text->len);
        if (n < 0) return 1;
        buffer_consume(text, (size_t)n);
    }
    return 0;
}

static void add_memory(struct buffer *out) {
    static const struct {
        const char *line, *key;
    } wanted[] = {{"MemTotal:", "total_kib"}, {"MemAvailable:", "available_kib"}, {"MemFree:", "free_kib"}, {"SwapTotal:", "swap_total_kib"}, {"SwapFree:", "swap_free_kib"}};
    char line[256], name[64];
    long long value;
    json_key(out, "memory");
    buffer_text(out, "{");
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%63s %lld", name, &value) != 2) continue;
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strcmp(name, wanted[i].line) == 0) json_member_number(out, wanted[i].key, value);
    }
    if (file) fclose(file);
    json_end(out, '}');
}

static void add_cpu(struct buffer *out) {
    long long user = 0, nice = 0, system = 0, idle = 0, wait = 0;
    FILE *file = fopen("/proc/stat", "re");
    if (file && fscanf(file, "cpu %lld %lld %lld %lld %lld", &user, &nice, &system, &idle, &wait) < 4) user = 0;
    if (file) fclose(file);
    json_key(out, "cpu");
    buffer_text(out, "{");
    json_member_number(out, "count", sysconf(_SC_NPROCESSORS_ONLN));
    json_member_number(out, "busy_ticks", user + nice + system);
    json_member_number(out, "idle_ticks", idle + wait);
    json_end(out, '}');
}

static void add_disk(struct buffer *out) {
    struct statvfs st;
    if (statvfs("/", &st) < 0) return;
    json_key(out, "root");
    buffer_text(out, "{");
    json_member_number(out, "size_kib", (int64_t)(st.f_blocks * st.f_frsize / 1024));
    json_member_number(out, "free_kib", (int64_t)(st.f_bavail * st.f_frsize / 1024));
    json_end(out, '}');
}

/* Bytes since the boot, over all interfaces but the loopback. */
static void add_network(struct buffer *out) {
    char line[512], name[64];
    long long rx, tx, received = 0, sent = 0;
    FILE *file = fopen("/proc/net/dev", "re");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, " %63[^:]: %lld %*d %*d %*d %*d %*d %*d %*d %lld", name, &rx, &tx) != 3 || strcmp(name, "lo") == 0) continue;
        received += rx;
        sent += tx;
    }
    if (file) fclose(file);
    json_key(out, "network");
    buffer_text(out, "{");
    json_member_number(out, "rx_bytes", received);
    json_member_number(out, "tx_bytes", sent);
    json_end(out, '}');
}

int report_stats(const struct json *request) {
    struct buffer out = {0}, text = {0};
    (void)request;
    json_begin(&out, '{');
    buffer_read_file(&text, "/proc/uptime", 64);
    json_member_number(&out, "uptime_ms", (int64_t)(strtod(buffer_string(&text), NULL) * 1000));
    buffer_clear(&text);
    buffer_read_file(&text, "/proc/loadavg", 64);
    char *load = buffer_string(&text);
    json_key(&out, "load");
    buffer_text(&out, "[");
    for (int i = 0; i < 3; i++) buffer_printf(&out, "%s%.2f", i ? "," : "", strtod(load, &load));
    buffer_text(&out, "]");
    add_memory(&out);
    add_cpu(&out);
    add_disk(&out);
    add_network(&out);
    json_end(&out, '}');
    return report_print(&out);
}
