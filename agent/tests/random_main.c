/* Without libFuzzer: random bytes, mutated from a few seeds, for a number of seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static const char seeds[][64] = {"\1\3{\"op\":\"exec\",\"argv\":[\"a\\u00e9\\ud83d\\ude00\"],\"n\":-1.5e3}", "[[[{\"a\":[true,false,null]}]]]", "\1\0\0\0\0\4\0\0\0\1\7\0\0\0abcd\0", "\0\0\0\0\50\0\0\0\0\1\0\0\0\0BANGER"};

int main(int argc, char **argv) {
    time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
    unsigned long rounds = 0;
    unsigned char data[600];
    srand(1);
    for (; time(NULL) < end; rounds++) {
        size_t size = (size_t)rand() % sizeof data;
        const char *seed = seeds[rand() % 4];
        for (size_t i = 0; i < size; i++) data[i] = (unsigned char)rand();
        if (rounds % 4) memcpy(data, seed, size < 64 ? size : 64);
        for (int n = rand() % 4; size && n-- > 0;) data[(size_t)rand() % size] = (unsigned char)rand();
        LLVMFuzzerTestOneInput(data, rounds % 8 == 1 && size > 40 ? 30 : size);
    }
    printf("%lu inputs\n", rounds);
    return 0;
}
