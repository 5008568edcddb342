#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report.h"

enum { PORT_LIMIT = 256, TCP_LISTEN = 0x0A, UDP_UNCONNECTED = 0x07, COMMAND_BYTES = 256 };
/* An answer is one frame: past this many bytes commands are left out. */
enum { ROOM_FOR_COMMANDS = 24 * 1024 };

static struct port {
    unsigned long inode;
    unsigned port;
    const char *protocol;
    char address[40];
    int pid;
    char process[32];
    char command[COMMAND_BYTES];
} ports[PORT_LIMIT];
static int count;

/* /proc/net prints addresses as 32-bit words in the machine's order. */
static void format_address(const char *hex, char *out, size_t size) {
    unsigned char bytes[16];
    size_t words = strlen(hex) / 8;
    for (size_t i = 0; i < words && i < 4; i++) {
        unsigned word = 0;
        sscanf(hex + 8 * i, "%8x", &word);
        memcpy(bytes + 4 * i, &word, 4);
    }
    if (words == 1) {
        snprintf(out, size, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
        return;
    }
    size_t at = 0;
    for (int i = 0; i < 16; i += 2)
        at += (size_t)snprintf(out + at, size - at, "%s%x", i ? ":" : "", bytes[i] << 8 | bytes[i + 1]);
}

static void read_table(const char *path, const char *protocol, unsigned wanted) {
    char line[512], address[40];
    FILE *file = fopen(path, "re");
    while (file && count < PORT_LIMIT && fgets(line, sizeof line, file)) {
        struct port *p = &ports[count];
        unsigned state = 0;
        if (sscanf(line, " %*d: %39[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*u %*d %lu", address, &p->port, &state, &p->inode) != 4) continue;
        if (state != wanted) continue;
        p->protocol = protocol;
        format_address(address, p->address, sizeof p->address);
        count++;
    }
    if (file) fclose(file);
}

/* The arguments with spaces between them; what is no text of one line is cleaned by the host. */
static void read_command(int pid, char *out) {
    char path[64];
    struct buffer text = {0};
    snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
    buffer_read_file(&text, path, COMMAND_BYTES - 1);
    size_t len = text.len < COMMAND_BYTES ? text.len : COMMAND_BYTES - 1;
    const char *bytes = (const char *)buffer_front(&text);
    while (len > 0 && !bytes[len - 1]) len--;
    for (size_t i = 0; i < len; i++) out[i] = bytes[i] ? bytes[i] : ' ';
    out[len] = 0;
    buffer_free(&text);
}

static void name_owner(int pid, unsigned long inode) {
    char path[64];
    for (int i = 0; i < count; i++) {
        if (ports[i].inode != inode || ports[i].pid) continue;
        struct buffer name = {0};
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        buffer_read_file(&name, path, 64);
        char *text = buffer_string(&name);
        text[strcspn(text, "\n")] = 0;
        ports[i].pid = pid;
        snprintf(ports[i].process, sizeof ports[i].process, "%s", text);
        buffer_free(&name);
        read_command(pid, ports[i].command);
    }
}

static void scan_process(int pid) {
    char path[300], target[64];
    unsigned long inode;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, entry->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n <= 0) continue;
        target[n] = 0;
        if (sscanf(target, "socket:[%lu]", &inode) == 1) name_owner(pid, inode);
    }
    if (dir) closedir(dir);
}

static void find_owners(void) {
    DIR *dir = opendir("/proc");
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (isdigit((unsigned char)entry->d_name[0])) scan_process(atoi(entry->d_name));
    if (dir) closedir(dir);
}

int report_ports(const struct json *request) {
    struct buffer out = {0};
    read_table("/proc/net/tcp", "tcp", TCP_LISTEN);
    read_table("/proc/net/tcp6", "tcp", TCP_LISTEN);
    read_table("/proc/net/udp", "udp", UDP_UNCONNECTED);
    read_table("/proc/net/udp6", "udp", UDP_UNCONNECTED);
    if (!json_get(request, "owners") || json_true(request, "owners")) find_owners();
    json_begin(&out, '{');
    json_key(&out, "ports");
    buffer_text(&out, "[");
    for (int i = 0; i < count; i++) {
        json_begin(&out, '{');
        json_member_number(&out, "port", ports[i].port);
        json_member(&out, "address", ports[i].address);
        json_member(&out, "protocol", ports[i].protocol);
        if (ports[i].pid) json_member_number(&out, "pid", ports[i].pid);
        if (ports[i].pid) json_member(&out, "process", ports[i].process);
        if (ports[i].pid && out.len < ROOM_FOR_COMMANDS) json_member(&out, "command", ports[i].command);
        json_end(&out, '}');
    }
    json_end(&out, ']');
    json_end(&out, '}');
    return report_print(&out);
}
