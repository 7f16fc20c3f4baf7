# SPDX-License-Identifier: MIT
"""Paths of Windows hosts: which can be, and how they are joined.

After "Naming Files, Paths, and Namespaces" in Microsoft's documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import PureWindowsPath

LONGEST = 220  # characters of a work directory; with the logs below it, MAX_PATH (260) is what most programs take
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³]) *(\..*)?", re.IGNORECASE)
_LONGEST_NAME = 255
_DRIVE = re.compile(r"[A-Za-z]:")


def complaint(path: str) -> str:
    """Return what is wrong with a path; "" if a Windows host can have it."""
    if path[:4].replace("/", "\\") in ("\\\\?\\", "\\\\.\\"):
        return "it names a device; write it without the \\\\?\\ or \\\\.\\"
    pure = PureWindowsPath(path)
    if pure.drive.startswith("\\\\"):
        pieces = pure.drive[2:].split("\\")
        if len(pieces) != 2 or not all(pieces):
            return "a UNC path needs a server and a share: \\\\server\\share"
        return _name_complaints([*pieces, *pure.parts[1:]])
    if pure.drive and not _DRIVE.fullmatch(pure.drive):
        return f"{pure.drive!r} is no drive"
    if pure.drive and not pure.root:
        return "it starts at the current directory of a drive; write C:\\name with a backslash behind the colon"
    if pure.root and not pure.drive:
        return "it starts at the root of no drive in particular; write the drive before it"
    return _name_complaints(pure.parts[1:] if pure.drive else pure.parts)


def name_complaint(name: str) -> str:
    """Return what is wrong with the name of a file; "" if a Windows host can have it."""
    if "\\" in name or "/" in name:
        return f"{name!r} holds a slash or a backslash, which separates directories there"
    return _name_complaints([name])


def _name_complaints(names: Iterable[str]) -> str:
    return next(filter(None, map(_complaint, names)), "")


def _complaint(name: str) -> str:
    if name in ("..", "~"):
        return ""
    if bad := _FORBIDDEN.search(name):
        return f"{name!r} holds {bad[0]!r}, which no name has on Windows"
    if name[-1:] in (".", " "):
        return f"{name!r} ends with a dot or a space, which Windows drops"
    if _DEVICE.fullmatch(name):
        return f"{name!r} is the name of a device on Windows"
    return f"{name[:40]!r}… has more than {_LONGEST_NAME} characters" if len(name) > _LONGEST_NAME else ""


def plain(path: str) -> str:
    """Return a path as this library sends it: with slashes, which Windows takes too, and no needless pieces."""
    return PureWindowsPath(path).as_posix()


def join(directory: str, path: str) -> str:
    """Join a path to a directory; an absolute path stands for itself."""
    return (PureWindowsPath(directory) / path).as_posix()


def last_name(path: str) -> str:
    """Return the name that a path ends with; "" for the root of a drive, "." and ".."."""
    name = PureWindowsPath(path).name
    return "" if name in ("..", "~") else name


def twins(names: Iterable[str]) -> Iterator[str]:
    """Yield names that differ from an earlier one by their case only, which is none to Windows."""
    seen: set[str] = set()
    for name in names:
        folded = name.upper()
        if folded in seen:
            yield name
        seen.add(folded)
