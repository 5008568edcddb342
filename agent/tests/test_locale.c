/* Which locales are there, by directories and by an archive. */
#include "../locale.c"

#include "check.h"

static char base[] = "/tmp/agent-locale-XXXXXX";

static void make(const char *name, const void *content, size_t size) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", base, name);
    FILE *file = fopen(path, "w");
    CHECK(file && fwrite(content, 1, size, file) == size);
    CHECK(fclose(file) == 0);
}

static void make_directory(const char *name) {
    char path[200];
    snprintf(path, sizeof path, "%s/%s", base, name);
    CHECK(mkdir(path, 0755) == 0);
    snprintf(path, sizeof path, "%s/LC_CTYPE", name);
    make(path, "x", 1);
}

static void check_directories(void) {
    make_directory("C.utf8");
    make_directory("sr_RS.utf8@latin");
    make_directory("cs_CZ");
    CHECK(locale_is_there(base, "C.UTF-8") && locale_is_there(base, "C.utf8") && locale_is_there(base, "cs_CZ"));
    CHECK(locale_is_there(base, "sr_RS.UTF-8@latin"));
    CHECK(!locale_is_there(base, "de_DE.UTF-8") && !locale_is_there(base, "C.UTF-16") && !locale_is_there(base, "C"));
}

static void check_archive(void) {
    static const char names[] = "en_US.utf8\0de_DE.utf8\0de_DE\0cut";
    struct {
        struct archive head;
        char names[sizeof names];
    } file = {.head = {.magic = ARCHIVE_MAGIC, .string_offset = sizeof(struct archive), .string_used = sizeof names - 1}};
    memcpy(file.names, names, sizeof names);
    make("locale-archive", &file, sizeof file);
    CHECK(locale_is_there(base, "en_US.UTF-8") && locale_is_there(base, "de_DE.UTF-8") && locale_is_there(base, "de_DE"));
    CHECK(!locale_is_there(base, "US.utf8") && !locale_is_there(base, "en_US") && !locale_is_there(base, "cut") && !locale_is_there(base, "fr_FR.UTF-8"));
    make("locale-archive", &file, sizeof file.head + 12); /* cut off behind its first name */
    CHECK(locale_is_there(base, "en_US.UTF-8") && !locale_is_there(base, "de_DE.UTF-8"));
    file.head.string_used = 0xffffffff;
    make("locale-archive", &file, sizeof file);
    CHECK(!locale_is_there(base, "en_US.UTF-8"));
    file.head.magic++;
    make("locale-archive", &file, sizeof file);
    CHECK(!locale_is_there(base, "en_US.UTF-8"));
    make("locale-archive", &file, 5);
    CHECK(!locale_is_there(base, "en_US.UTF-8"));
}

static void check_names(void) {
    static const char *bad[] = {"", ".", "..", "/etc", "../C.utf8", "C.utf8/..", "C.utf8/", "a\nb", "-C.utf8", "C..utf8", "en_US.UTF-8;x"};
    char longest[200];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(!locale_is_there(base, bad[i]));
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    CHECK(!locale_is_there(base, longest));
}

int main(void) {
    char command[300];
    CHECK(mkdtemp(base));
    check_directories();
    check_archive();
    check_names();
    snprintf(command, sizeof command, "rm -r %s", base);
    CHECK(system(command) == 0);
    PASSED();
    return 0;
}
