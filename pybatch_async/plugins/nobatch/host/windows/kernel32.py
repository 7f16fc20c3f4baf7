# SPDX-License-Identifier: MIT
"""The functions of kernel32.dll that the queue needs, with their types, and nothing decided here.

Their pages in Microsoft's documentation tell what each does; the sizes of the structures are those of winnt.h and
processthreadsapi.h. On failure each raises OSError with Windows' own code as `winerror`.
"""

import ctypes

BOOL, DWORD, WORD, HANDLE, TEXT = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint16, ctypes.c_void_p, ctypes.c_wchar_p
SIZE, LONGLONG = ctypes.c_size_t, ctypes.c_int64

CREATE_SUSPENDED = 0x00000004
CREATE_NEW_PROCESS_GROUP = 0x00000200
CREATE_UNICODE_ENVIRONMENT = 0x00000400
CREATE_BREAKAWAY_FROM_JOB = 0x01000000
CREATE_NO_WINDOW = 0x08000000
STARTF_USESTDHANDLES = 0x00000100
PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
SYNCHRONIZE = 0x00100000
JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE = 0x00002000
CTRL_BREAK_EVENT = 1
WAIT_OBJECT_0, WAIT_TIMEOUT = 0, 0x102
ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND, ERROR_ACCESS_DENIED, ERROR_INVALID_PARAMETER = 2, 3, 5, 87
_BASIC_ACCOUNTING, _EXTENDED_LIMIT = 1, 9  # JOBOBJECTINFOCLASS
_FAILED = 0xFFFFFFFF


class StartupInfo(ctypes.Structure):
    _fields_ = [
        ("cb", DWORD),
        ("reserved", TEXT),
        ("desktop", TEXT),
        ("title", TEXT),
        ("x", DWORD),
        ("y", DWORD),
        ("width", DWORD),
        ("height", DWORD),
        ("columns", DWORD),
        ("rows", DWORD),
        ("fill", DWORD),
        ("flags", DWORD),
        ("show", WORD),
        ("reserved_size", WORD),
        ("reserved_bytes", ctypes.c_void_p),
        ("stdin", HANDLE),
        ("stdout", HANDLE),
        ("stderr", HANDLE),
    ]


class ProcessInformation(ctypes.Structure):
    _fields_ = [("process", HANDLE), ("thread", HANDLE), ("pid", DWORD), ("thread_id", DWORD)]


class FileTime(ctypes.Structure):
    """100 ns since 1601-01-01 UTC."""

    _fields_ = [("low", DWORD), ("high", DWORD)]

    @property
    def value(self):
        return self.high << 32 | self.low


class BasicLimits(ctypes.Structure):
    _fields_ = [
        ("process_time", LONGLONG),
        ("job_time", LONGLONG),
        ("flags", DWORD),
        ("least_working_set", SIZE),
        ("most_working_set", SIZE),
        ("most_processes", DWORD),
        ("affinity", SIZE),
        ("priority", DWORD),
        ("scheduling", DWORD),
    ]


class ExtendedLimits(ctypes.Structure):
    _fields_ = [
        ("basic", BasicLimits),
        ("io", ctypes.c_uint64 * 6),
        ("process_memory", SIZE),
        ("job_memory", SIZE),
        ("peak_process_memory", SIZE),
        ("peak_job_memory", SIZE),
    ]


class BasicAccounting(ctypes.Structure):
    _fields_ = [
        ("user_time", LONGLONG),
        ("kernel_time", LONGLONG),
        ("period_user_time", LONGLONG),
        ("period_kernel_time", LONGLONG),
        ("page_faults", DWORD),
        ("processes", DWORD),
        ("active", DWORD),
        ("terminated", DWORD),
    ]


_SIGNATURES = {
    "CreateProcessW": (
        BOOL,
        [TEXT, TEXT, HANDLE, HANDLE, BOOL, DWORD, ctypes.c_void_p, TEXT, ctypes.c_void_p, ctypes.c_void_p],
    ),
    "ResumeThread": (DWORD, [HANDLE]),
    "CloseHandle": (BOOL, [HANDLE]),
    "WaitForSingleObject": (DWORD, [HANDLE, DWORD]),
    "GetExitCodeProcess": (BOOL, [HANDLE, ctypes.c_void_p]),
    "TerminateProcess": (BOOL, [HANDLE, ctypes.c_uint]),
    "OpenProcess": (HANDLE, [DWORD, BOOL, DWORD]),
    "GetProcessTimes": (BOOL, [HANDLE] + [ctypes.c_void_p] * 4),
    "GetTickCount64": (ctypes.c_uint64, []),
    "CreateJobObjectW": (HANDLE, [ctypes.c_void_p, TEXT]),
    "SetInformationJobObject": (BOOL, [HANDLE, ctypes.c_int, ctypes.c_void_p, DWORD]),
    "QueryInformationJobObject": (BOOL, [HANDLE, ctypes.c_int, ctypes.c_void_p, DWORD, ctypes.c_void_p]),
    "AssignProcessToJobObject": (BOOL, [HANDLE, HANDLE]),
    "TerminateJobObject": (BOOL, [HANDLE, ctypes.c_uint]),
    "GenerateConsoleCtrlEvent": (BOOL, [DWORD, DWORD]),
}


class Kernel32:
    """Call kernel32.dll.

    :param dll: the library, with its last error kept by ctypes.
    :param last_error: function that tells this error's code.
    """

    def __init__(self, dll, last_error):
        self._dll = dll
        self._last_error = last_error
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(dll, name)
            function.restype, function.argtypes = result, arguments

    def create_process(self, line, flags, application=None, environment=None, directory=None, files=None):
        """Start a process.

        :param line: the command line.
        :param environment: text of "NAME=value" pieces, each with a NUL behind; None for this process's.
        :param files: inheritable handles for its standard input, output and error; None to let it inherit nothing.
        :returns: handle of the process, handle of its first thread, pid.
        """
        start, found = StartupInfo(), ProcessInformation()
        start.cb = ctypes.sizeof(start)
        if files:
            start.flags = STARTF_USESTDHANDLES
            start.stdin, start.stdout, start.stderr = files
        block = None
        if environment is not None:
            flags |= CREATE_UNICODE_ENVIRONMENT
            block = ctypes.create_unicode_buffer(environment)  # it adds the last NUL
        text = ctypes.create_unicode_buffer(line)  # CreateProcessW may write in it
        arguments = [application, ctypes.cast(text, TEXT), None, None, bool(files), flags]
        self._check(
            self._dll.CreateProcessW(*arguments, block, directory, ctypes.byref(start), ctypes.byref(found)),
            "CreateProcessW",
        )
        return found.process, found.thread, found.pid

    def resume(self, thread):
        self._check(self._dll.ResumeThread(thread) != _FAILED, "ResumeThread")

    def close(self, handle):
        self._dll.CloseHandle(handle)

    def has_ended(self, process, milliseconds):
        """Wait for the end of a process for at most so long; tell whether it has come."""
        answer = self._dll.WaitForSingleObject(process, milliseconds)
        self._check(answer in (WAIT_OBJECT_0, WAIT_TIMEOUT), "WaitForSingleObject")
        return answer == WAIT_OBJECT_0

    def exit_code(self, process):
        code = DWORD()
        self._check(self._dll.GetExitCodeProcess(process, ctypes.byref(code)), "GetExitCodeProcess")
        return code.value

    def end_process(self, process, code):
        self._check(self._dll.TerminateProcess(process, code), "TerminateProcess")

    def open_process(self, pid):
        """Return a handle to look at a process with.

        :raises OSError: there is none (ERROR_INVALID_PARAMETER), or it is another user's (ERROR_ACCESS_DENIED).
        """
        handle = self._dll.OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE, False, pid)
        self._check(handle, "OpenProcess")
        return handle

    def creation_time(self, process):
        """Return when a process was created, in 100 ns since 1601."""
        times = [FileTime() for _ in range(4)]
        self._check(self._dll.GetProcessTimes(process, *map(ctypes.byref, times)), "GetProcessTimes")
        return times[0].value

    def uptime(self):
        """Return the seconds since the machine was started."""
        return self._dll.GetTickCount64() / 1000.0

    def new_job(self):
        """Return a handle to a new job object, whose processes end when its last handle is closed."""
        job = self._dll.CreateJobObjectW(None, None)
        self._check(job, "CreateJobObjectW")
        limits = ExtendedLimits()
        limits.basic.flags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        arguments = [_EXTENDED_LIMIT, ctypes.byref(limits), ctypes.sizeof(limits)]
        self._check(self._dll.SetInformationJobObject(job, *arguments), "SetInformationJobObject")
        return job

    def assign(self, job, process):
        self._check(self._dll.AssignProcessToJobObject(job, process), "AssignProcessToJobObject")

    def active_processes(self, job):
        """Return how many processes a job object holds."""
        found = BasicAccounting()
        arguments = [_BASIC_ACCOUNTING, ctypes.byref(found), ctypes.sizeof(found), None]
        self._check(self._dll.QueryInformationJobObject(job, *arguments), "QueryInformationJobObject")
        return found.active

    def end_job(self, job, code):
        self._check(self._dll.TerminateJobObject(job, code), "TerminateJobObject")

    def ctrl_break(self, pid):
        """Send CTRL_BREAK to a process group of the console that this process has."""
        self._check(self._dll.GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, pid), "GenerateConsoleCtrlEvent")

    def _check(self, is_well, what):
        if not is_well:
            code = self._last_error()
            error = OSError(0, "%s failed with Windows' error %d" % (what, code))
            error.winerror = code
            raise error


def load():
    """Return the functions of this machine's kernel32.dll."""
    return Kernel32(ctypes.WinDLL("kernel32", use_last_error=True), ctypes.get_last_error)
