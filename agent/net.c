#include "net.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "buffer.h"

static char problem[200];

static const char *fail(const char *what) {
    snprintf(problem, sizeof problem, "network: %s: %s", what, strerror(errno));
    return problem;
}

static bool has_mac(const char *name, const char *mac) {
    char path[300];
    struct buffer text = {0};
    snprintf(path, sizeof path, "/sys/class/net/%s/address", name);
    buffer_read_file(&text, path, 64);
    char *found = buffer_string(&text);
    found[strcspn(found, "\n")] = 0;
    bool same = strcasecmp(found, mac) == 0;
    buffer_free(&text);
    return same;
}

static bool find_interface(const char *mac, char name[IFNAMSIZ]) {
    bool found = false;
    DIR *dir = opendir("/sys/class/net");
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.' || !has_mac(entry->d_name, mac)) continue;
        snprintf(name, IFNAMSIZ, "%.15s", entry->d_name);
        found = true;
    }
    if (dir) closedir(dir);
    return found;
}

static bool set_up(int fd, const char *name) {
    struct ifreq request = {0};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) return false;
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0;
}

static bool set_address(int fd, const char *name, unsigned long what, struct in_addr value) {
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = value};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    memcpy(&request.ifr_addr, &address, sizeof address);
    return ioctl(fd, what, &request) == 0;
}

static bool set_gateway(int fd, const char *name, struct in_addr gateway) {
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    struct sockaddr_in any = {.sin_family = AF_INET}, via = {.sin_family = AF_INET, .sin_addr = gateway};
    char device[IFNAMSIZ];
    snprintf(device, sizeof device, "%s", name);
    memcpy(&route.rt_dst, &any, sizeof any);
    memcpy(&route.rt_genmask, &any, sizeof any);
    memcpy(&route.rt_gateway, &via, sizeof via);
    route.rt_dev = device;
    return ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST;
}

void net_up_loopback(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !set_up(fd, "lo")) log_line("cannot bring lo up: %s", strerror(errno));
    if (fd >= 0) close(fd);
}

static const char *configure(int fd, const char *name, const struct json *network) {
    char text[64];
    struct in_addr address, mask, gateway;
    snprintf(text, sizeof text, "%s", json_text(network, "address", ""));
    char *slash = strchr(text, '/');
    long bits = slash ? strtol(slash + 1, NULL, 10) : 32;
    if (slash) *slash = 0;
    errno = EINVAL;
    if (inet_pton(AF_INET, text, &address) != 1 || bits < 0 || bits > 32) return fail("address");
    mask.s_addr = htonl(bits ? ~0u << (32 - bits) : 0);
    int64_t mtu = json_number(network, "mtu", 0);
    struct ifreq request = {.ifr_mtu = (int)mtu};
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (mtu && ioctl(fd, SIOCSIFMTU, &request) < 0) return fail("mtu");
    if (!set_address(fd, name, SIOCSIFADDR, address) || !set_address(fd, name, SIOCSIFNETMASK, mask)) return fail("address");
    if (!set_up(fd, name)) return fail("bring the interface up");
    const char *via = json_text(network, "gateway", NULL);
    if (via && (inet_pton(AF_INET, via, &gateway) != 1 || !set_gateway(fd, name, gateway))) return fail("gateway");
    return NULL;
}

bool net_is_there(const struct json *network) {
    char name[IFNAMSIZ];
    const char *mac = json_text(network, "mac", NULL);
    return !mac || find_interface(mac, name);
}

const char *net_configure(const struct json *network) {
    char name[IFNAMSIZ];
    const char *mac = json_text(network, "mac", NULL);
    if (!mac) return NULL;
    if (!find_interface(mac, name)) {
        errno = ENODEV;
        return fail(mac);
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail("socket");
    const char *result = configure(fd, name, network);
    close(fd);
    return result;
}
