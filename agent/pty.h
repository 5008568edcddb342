/* Pseudo-terminals. */
#ifndef BANGER_PTY_H
#define BANGER_PTY_H
#include <sys/types.h>

/* The master, or -1 with errno; the name of the other end goes into path. */
int pty_open(int rows, int cols, char *path, int size);
/* In a child that leads its session: make it the controlling terminal and the three standard descriptors. */
int pty_attach(const char *path, uid_t owner);
#endif
