/* SPDX-License-Identifier: MIT */
/* A program for jobs: shows its arguments or surroundings, crashes, sleeps, or starts another one that does. */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <wchar.h>
#include <windows.h>

static void say(const wchar_t *text)
{
    char bytes[4096];
    fwrite(bytes, 1, WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, sizeof bytes, 0, 0), stdout);
}

static void start_another(void)
{
    STARTUPINFOW start = {sizeof start};
    PROCESS_INFORMATION found;
    wchar_t line[600] = L"\"";
    GetModuleFileNameW(0, line + 1, 500);
    wcscat(line, L"\" sleep");
    CreateProcessW(0, line, 0, 0, FALSE, 0, 0, 0, &start, &found);
    printf("%lu\n", found.dwProcessId);
    fflush(stdout);
}

int wmain(int count, wchar_t **words)
{
    wchar_t *what = words[1], directory[300];
    _setmode(1, _O_BINARY);
    if (!wcscmp(what, L"arguments")) {
        for (int i = 2; i < count; i++)
            say(words[i]);
        return count;
    }
    if (!wcscmp(what, L"surroundings")) {
        GetCurrentDirectoryW(300, directory);
        say(_wgetenv(L"A"));
        say(_wgetenv(L"B"));
        say(directory);
        return 5;
    }
    if (!wcscmp(what, L"crash"))
        ExitProcess(0xC0000005);
    if (!wcscmp(what, L"parent") || !wcscmp(what, L"orphan"))
        start_another();
    if (!wcscmp(what, L"orphan"))
        return 0;
    puts("sleeps");
    fflush(stdout);
    Sleep(600000);
    return 0;
}
