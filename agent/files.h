/* file-read and file-write, relay: workers that move bytes between the stream and something of the guest. */
#ifndef BANGER_FILES_H
#define BANGER_FILES_H
#include "json.h"

int file_read(const struct json *request);
int file_write(const struct json *request);
/* In tree_read.c and tree_write.c: whole trees as the records of tree.h. */
int tree_read(const struct json *request);
int tree_write(const struct json *request);
/* In relay.c. */
int relay_run(const struct json *request);
/* In listen.c. */
int listen_run(const struct json *request);
#endif
