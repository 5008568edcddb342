#include "json.h"

#include <stdlib.h>
#include <string.h>

struct cursor {
    const char *at, *end;
    int depth, nodes;
};

static struct json *parse_value(struct cursor *c);

static void skip_space(struct cursor *c) {
    while (c->at < c->end && strchr(" \t\r\n", *c->at) && *c->at) c->at++;
}

static bool take(struct cursor *c, const char *word) {
    size_t len = strlen(word);
    if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0) return false;
    c->at += len;
    return true;
}

static struct json *make_node(struct cursor *c, enum json_kind kind) {
    if (++c->nodes > JSON_NODES) return NULL;
    struct json *node = calloc(1, sizeof *node);
    if (node) node->kind = kind;
    return node;
}

static int hex4(struct cursor *c) {
    if (c->end - c->at < 4) return -1;
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char ch = *c->at++;
        int digit = ch >= '0' && ch <= '9' ? ch - '0' : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static void put_utf8(struct buffer *b, unsigned code) {
    char bytes[4];
    size_t len = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len; i-- > 1; code >>= 6) bytes[i] = (char)(0x80 | (code & 0x3F));
    bytes[0] = (char)(lead[len] | code);
    buffer_append(b, bytes, len);
}

/* After "\u": a code point, a surrogate pair, or a byte smuggled as \udc80..\udcff. */
static bool parse_unicode(struct cursor *c, struct buffer *out) {
    int code = hex4(c);
    if (code <= 0) return false;
    if (code >= 0xD800 && code < 0xDC00) {
        if (!take(c, "\\u")) return false;
        int low = hex4(c);
        if (low < 0xDC00 || low > 0xDFFF) return false;
        put_utf8(out, 0x10000u + (((unsigned)code - 0xD800u) << 10) + ((unsigned)low - 0xDC00u));
    } else if (code >= 0xDC80 && code <= 0xDCFF) {
        char byte = (char)(code - 0xDC00);
        buffer_append(out, &byte, 1);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
        return false;
    } else {
        put_utf8(out, (unsigned)code);
    }
    return true;
}

static bool parse_escape(struct cursor *c, struct buffer *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c->at >= c->end) return false;
    char ch = *c->at++;
    if (ch == 'u') return parse_unicode(c, out);
    const char *found = ch ? strchr(from, ch) : NULL;
    if (!found) return false;
    buffer_append(out, &to[found - from], 1);
    return true;
}

static char *parse_string(struct cursor *c) {
    struct buffer out = {0};
    if (!take(c, "\"")) return NULL;
    while (c->at < c->end && *c->at != '"') {
        char ch = *c->at++;
        if ((unsigned char)ch < 0x20) goto bad;
        if (ch != '\\')
            buffer_append(&out, &ch, 1);
        else if (!parse_escape(c, &out))
            goto bad;
    }
    if (!take(c, "\"")) goto bad;
    return buffer_string(&out); /* head is 0: the string is the allocation */
bad:
    buffer_free(&out);
    return NULL;
}

static struct json *parse_number(struct cursor *c) {
    char digits[40];
    size_t len = 0;
    bool whole = true;
    while (c->at < c->end && len < sizeof digits - 1 && *c->at && strchr("+-0123456789.eE", *c->at)) {
        whole = whole && !strchr(".eE", *c->at);
        digits[len++] = *c->at++;
    }
    digits[len] = 0;
    char *end = digits;
    double real = strtod(digits, &end);
    if (len == 0 || *end || real > 9.2e18 || real < -9.2e18 || real != real) return NULL;
    struct json *node = make_node(c, JSON_NUMBER);
    if (node) node->number = whole ? (int64_t)strtoll(digits, NULL, 10) : (int64_t)real;
    return node;
}

static struct json *parse_member(struct cursor *c, bool keyed) {
    char *key = NULL;
    skip_space(c);
    if (keyed) {
        if (!(key = parse_string(c))) return NULL;
        skip_space(c);
        if (!take(c, ":")) {
            free(key);
            return NULL;
        }
    }
    struct json *value = parse_value(c);
    if (value)
        value->key = key;
    else
        free(key);
    return value;
}

static struct json *parse_container(struct cursor *c, bool keyed) {
    struct json *node = make_node(c, keyed ? JSON_OBJECT : JSON_ARRAY);
    if (!node) return NULL;
    struct json **tail = &node->child;
    c->at++;
    skip_space(c);
    if (take(c, keyed ? "}" : "]")) return node;
    do {
        if (!(*tail = parse_member(c, keyed))) goto bad;
        tail = &(*tail)->next;
        skip_space(c);
    } while (take(c, ","));
    if (take(c, keyed ? "}" : "]")) return node;
bad:
    json_free(node);
    return NULL;
}

static struct json *parse_word(struct cursor *c) {
    struct json *node = NULL;
    if (take(c, "null")) return make_node(c, JSON_NULL);
    bool yes = take(c, "true");
    if ((yes || take(c, "false")) && (node = make_node(c, JSON_BOOL))) node->number = yes;
    return node;
}

static struct json *parse_text(struct cursor *c) {
    char *text = parse_string(c);
    if (!text) return NULL;
    struct json *node = make_node(c, JSON_STRING);
    if (node)
        node->text = text;
    else
        free(text);
    return node;
}

static struct json *parse_value(struct cursor *c) {
    struct json *node = NULL;
    skip_space(c);
    if (c->at >= c->end || c->depth >= JSON_DEPTH) return NULL;
    c->depth++;
    if (*c->at == '{' || *c->at == '[')
        node = parse_container(c, *c->at == '{');
    else if (*c->at == '"')
        node = parse_text(c);
    else if (*c->at == '-' || (*c->at >= '0' && *c->at <= '9'))
        node = parse_number(c);
    else
        node = parse_word(c);
    c->depth--;
    return node;
}

struct json *json_parse(const char *text, size_t len) {
    struct cursor c = {text, text + len, 0, 0};
    struct json *value = parse_value(&c);
    skip_space(&c);
    if (value && c.at == c.end) return value;
    json_free(value);
    return NULL;
}

void json_free(struct json *value) {
    while (value) {
        struct json *next = value->next;
        json_free(value->child);
        free(value->text);
        free(value->key);
        free(value);
        value = next;
    }
}

const struct json *json_get(const struct json *object, const char *key) {
    if (!object || object->kind != JSON_OBJECT) return NULL;
    for (const struct json *item = object->child; item; item = item->next)
        if (strcmp(item->key, key) == 0) return item;
    return NULL;
}

const char *json_text(const struct json *object, const char *key, const char *fallback) {
    const struct json *item = json_get(object, key);
    return item && item->kind == JSON_STRING ? item->text : fallback;
}

int64_t json_number(const struct json *object, const char *key, int64_t fallback) {
    const struct json *item = json_get(object, key);
    return item && item->kind == JSON_NUMBER ? item->number : fallback;
}

bool json_true(const struct json *object, const char *key) {
    const struct json *item = json_get(object, key);
    return item && item->kind == JSON_BOOL && item->number;
}

size_t json_count(const struct json *array) {
    size_t count = 0;
    if (array)
        for (const struct json *item = array->child; item; item = item->next) count++;
    return count;
}
