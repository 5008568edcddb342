/* Any bytes: the parser gives a value or refuses, and what it gives can be walked and freed. */
#include <stdlib.h>
#include <string.h>

#include "json.h"

static int walk(const struct json *value, int depth) {
    int count = 0;
    if (depth > JSON_DEPTH) abort();
    for (; value; value = value->next) {
        count += 1 + walk(value->child, depth + 1);
        if (value->text) count += (int)strlen(value->text);
        if (value->key && !value->key[0]) count++;
    }
    return count;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    struct json *value = json_parse((const char *)data, size);
    walk(value, 0);
    json_free(value);
    return 0;
}
