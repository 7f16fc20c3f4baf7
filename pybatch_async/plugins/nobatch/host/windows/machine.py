# SPDX-License-Identifier: MIT
"""What the queue asks of Windows' files and names; ../machine.py has the same for POSIX systems."""

import os
import platform
import re
import time

KINDS = ("calls", "stops")  # there are no pipes and signals to tell these things by
BINARY = getattr(os, "O_BINARY", 0)
_FAR = 1 << 30  # the byte that is locked: others can not read a locked byte, so it lies behind all content
_PATIENCE, _PAUSE = 5.0, 0.01  # seconds
_BAD = re.compile(r'[<>:"|?*\\\x00-\x1f]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE)


def lock(file):
    """Wait until nobody else has locked a file; closing it gives up the lock."""
    while not is_locked_by_us(file.fileno()):
        time.sleep(_PAUSE)


def is_locked_by_us(descriptor):
    """Lock a file unless somebody else has; tell whether it is ours now."""
    import msvcrt

    os.lseek(descriptor, _FAR, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except OSError:
        return False
    return True


def patiently(action, *arguments, **named):
    """Do something with a file, again for a while if somebody holds it open: on Windows that keeps others out."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return action(*arguments, **named)
        except PermissionError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)


def replace(source, target):
    """Move a file to its place, over one that is there."""
    patiently(os.replace, source, target)


def remove(path):
    patiently(os.unlink, path)


def read(path):
    """Return the text of a file, as the queue writes it."""
    with patiently(open, path, encoding="ascii", errors="replace") as file:
        return file.read()


def host_name():
    return os.environ.get("COMPUTERNAME") or platform.node() or "localhost"


def state_base(home):
    """Return the directory below which programs of this user keep their state, as bytes."""
    base = os.environ.get("LOCALAPPDATA")
    return base.encode("utf-8", "surrogatepass") if base else os.path.join(home, b"AppData", b"Local")


def environment():
    """Return the environment of this process; Windows has its names in capital letters, whatever was written."""
    return {name.upper(): value for name, value in os.environ.items()}


def cpus():
    return os.cpu_count() or 1


def check_name(name):
    """Refuse the path of a file, with slashes in it, that Windows can not have or would take for something else."""
    for part in name.split("/"):
        is_cut = part[-1:] in (".", " ") and part not in (".", "..")  # Windows drops what such a name ends with
        if is_cut or _BAD.search(part) or _DEVICE.fullmatch(part):
            raise OSError(22, "no file can have the name %r on Windows" % part)


def set_mode(path, mode):
    """Leave permissions alone: the profile's access control list says who may do what."""
