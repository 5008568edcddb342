/* JSON, the part the agent needs: a bounded parser and a writer into a buffer.
 *
 * Strings are byte strings. A byte that is not UTF-8 travels as the escape \udc80..\udcff, which is what Python's
 * "surrogateescape" makes of it, so file names and arguments survive in both directions. NUL is refused. */
#ifndef BANGER_JSON_H
#define BANGER_JSON_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    int64_t number; /* also the value of a bool; fractions are cut off */
    char *text;
    char *key; /* set on members of an object */
    struct json *child, *next;
};

enum { JSON_DEPTH = 32, JSON_NODES = 20000 };

/* NULL when the text is not one valid JSON value within the bounds. */
struct json *json_parse(const char *text, size_t len);
void json_free(struct json *value);

/* All getters accept NULL and a wrong type, and then give the default. */
const struct json *json_get(const struct json *object, const char *key);
const char *json_text(const struct json *object, const char *key, const char *fallback);
int64_t json_number(const struct json *object, const char *key, int64_t fallback);
bool json_true(const struct json *object, const char *key);
size_t json_count(const struct json *array);

/* Writer: commas are put where the last byte asks for one. */
void json_begin(struct buffer *b, char bracket);
void json_end(struct buffer *b, char bracket);
void json_key(struct buffer *b, const char *key);
void json_add_text(struct buffer *b, const char *text);
void json_add_number(struct buffer *b, int64_t number);
void json_member(struct buffer *b, const char *key, const char *text);
void json_member_number(struct buffer *b, const char *key, int64_t number);
#endif
