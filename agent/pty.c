#include "pty.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

int pty_open(int rows, int cols, char *path, int size) {
    int unlock = 0, number = 0;
    struct winsize window = {.ws_row = (unsigned short)rows, .ws_col = (unsigned short)cols};
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    if (master < 0) return -1;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0) {
        close(master);
        return -1;
    }
    ioctl(master, TIOCSWINSZ, &window);
    snprintf(path, (size_t)size, "/dev/pts/%d", number);
    return master;
}

int pty_attach(const char *path, uid_t owner) {
    int fd = open(path, O_RDWR);
    if (fd < 0 || ioctl(fd, TIOCSCTTY, 0) < 0) return -1;
    if (geteuid() == 0 && (fchown(fd, owner, (gid_t)-1) < 0 || fchmod(fd, 0620) < 0)) return -1;
    struct termios settings;
    if (tcgetattr(fd, &settings) == 0) {
        settings.c_iflag |= IUTF8;
        tcsetattr(fd, TCSANOW, &settings);
    }
    for (int n = 0; n < 3; n++)
        if (dup2(fd, n) < 0) return -1;
    if (fd > 2) close(fd);
    return 0;
}
