/* The smallest test harness that names what failed. */
#ifndef BANGER_CHECK_H
#define BANGER_CHECK_H
#include <stdio.h>
#include <stdlib.h>

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            exit(1);                                                           \
        }                                                                      \
    } while (0)
#define PASSED() printf("ok %s\n", __FILE__)
#endif
