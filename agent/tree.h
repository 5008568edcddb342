/* Files and directories as a row of records: one header, a name, a payload. See docs/reference/agent-protocol.md. */
#ifndef BANGER_TREE_H
#define BANGER_TREE_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "json.h"

enum { TREE_HEADER = 24, TREE_NAME = 255, TREE_TARGET = 4095, TREE_CHUNK = 256 * 1024, TREE_DEPTH = 128 };

enum tree_type {
    TREE_DIRECTORY = 'D', /* number: mode; what follows is in it, until an END */
    TREE_FILE = 'F',      /* number: mode, size: about how many bytes; DATA follow, then END */
    TREE_DATA = 'C',      /* time: offset, ascending; payload of number bytes. What no DATA covers is a hole */
    TREE_END = 'E',       /* of a file, size: its exact length, number 1: it could not be read, nothing is to stay of it; or of the directory */
    TREE_LINK = 'L',      /* payload of number bytes: where it leads */
    TREE_SKIPPED = 'X',   /* payload of number bytes: why the name is not among what was sent */
    TREE_DONE = 'Z',
};

struct tree_record {
    uint8_t type;
    uint16_t name_length;
    uint32_t number;
    int64_t time; /* of modification, ns since 1970 */
    uint64_t size;
};

/* The worker's user and the path, in a child: absolute, or from the user's home. */
const char *tree_begin(const struct json *request, char *path, size_t size);
void tree_encode(unsigned char out[TREE_HEADER], const struct tree_record *record);
void tree_decode(const unsigned char in[TREE_HEADER], struct tree_record *record);
#endif
