/* SPDX-License-Identifier: MIT */
/* Make the calls of kernel32.dll that are asked for on standard input, and answer on standard output. */
#include <fcntl.h>
#include <io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

#define MOST 11

typedef uint64_t(WINAPI *Function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                                   uint64_t, uint64_t, uint64_t);

static void take(void *to, size_t size)
{
    if (fread(to, 1, size, stdin) != size)
        exit(0);
}

int main(void)
{
    HMODULE kernel = GetModuleHandleA("kernel32.dll");
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
    for (;;) {
        uint64_t a[MOST] = {0}, result;
        uint32_t length, count, error, size[MOST] = {0};
        char name[256], *buffer[MOST] = {0};
        Function function;
        take(&length, 4);
        take(name, length);
        name[length] = 0;
        take(&count, 4);
        for (uint32_t i = 0; i < count; i++) {
            uint8_t is_buffer;
            take(&is_buffer, 1);
            if (!is_buffer) {
                take(&a[i], 8);
                continue;
            }
            take(&size[i], 4);
            buffer[i] = calloc(1, size[i] + 8);
            take(buffer[i], size[i]);
            a[i] = (uint64_t)(uintptr_t)buffer[i];
        }
        function = (Function)GetProcAddress(kernel, name);
        SetLastError(0);
        result = function(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10]);
        error = GetLastError();
        fwrite(&result, 8, 1, stdout);
        fwrite(&error, 4, 1, stdout);
        for (uint32_t i = 0; i < count; i++)
            if (buffer[i]) {
                fwrite(buffer[i], 1, size[i], stdout);
                free(buffer[i]);
            }
        fflush(stdout);
    }
}
