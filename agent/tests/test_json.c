#include <string.h>

#include "check.h"
#include "json.h"

static struct json *parse(const char *text) { return json_parse(text, strlen(text)); }

static void refuses(const char *text) {
    struct json *value = parse(text);
    if (value) fprintf(stderr, "accepted: %s\n", text);
    CHECK(!value);
}

static void test_values(void) {
    struct json *v = parse(" {\"a\":[1,-2,3.9,true,null],\"b\":\"x\\n\\u00e9\\ud83d\\ude00\\udcff\",\"c\":{}} ");
    CHECK(v && json_count(json_get(v, "a")) == 5);
    CHECK(json_get(v, "a")->child->number == 1);
    CHECK(strcmp(json_text(v, "b", ""), "x\n\xc3\xa9\xf0\x9f\x98\x80\xff") == 0);
    CHECK(json_number(v, "b", 7) == 7 && json_number(v, "zz", 8) == 8);
    CHECK(!json_get(NULL, "a") && json_count(NULL) == 0 && !json_true(v, "a"));
    json_free(v);
}

static void test_refusals(void) {
    static const char *bad[] = {"", "{", "[1,]", "{\"a\"}", "{a:1}", "\"\\u0000\"", "\"\\ud800\"", "\"\\udc00\"", "\"\\x\"", "\"a", "1 2", "tru", "1e999", "-", "\"\t\"", "+1", "[", "{\"a\":"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) refuses(bad[i]);
    CHECK(!json_parse("\"a\0b\"", 5));
}

static void test_depth(void) {
    char text[200];
    for (int depth = 1; depth < 90; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        struct json *v = json_parse(text, (size_t)depth * 2);
        CHECK((v != NULL) == (depth <= JSON_DEPTH));
        json_free(v);
    }
}

static void test_round_trip(void) {
    static const char hard[] = "a\"b\\c\n\x01\x7f\xff\xc3\xa9\xed\xa0\x80\xf0\x9f\x98\x80\xc0\x80";
    struct buffer out = {0};
    json_begin(&out, '{');
    json_member(&out, hard, hard);
    json_member_number(&out, "n", -5);
    json_key(&out, "list");
    json_begin(&out, '[');
    json_add_text(&out, "x");
    json_add_number(&out, 2);
    json_end(&out, ']');
    json_end(&out, '}');
    struct json *v = json_parse(buffer_front(&out), out.len);
    CHECK(v && strcmp(json_text(v, hard, ""), hard) == 0);
    CHECK(json_number(v, "n", 0) == -5 && json_count(json_get(v, "list")) == 2);
    json_free(v);
    buffer_free(&out);
}

int main(void) {
    test_values();
    test_refusals();
    test_depth();
    test_round_trip();
    PASSED();
    return 0;
}
