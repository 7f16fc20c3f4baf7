# SPDX-License-Identifier: MIT
"""A kernel32.dll whose functions are those of Wine."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

WINE = "/usr/lib/wine/wine64"
_SERVER = "/usr/lib/wine/wineserver64"
_COMPILER = "x86_64-w64-mingw32-gcc"


def wine_path(path: Path) -> str:
    """Return the path by which Wine knows a file of this machine."""
    return f"Z:{path}".replace("/", "\\")


def compiled(name: str, directory: Path) -> Path:
    """Compile one of the programs here."""
    target = directory / f"{name}.exe"
    source = Path(__file__).with_name(f"{name}.c")
    options = ["-municode"] if name == "program" else []
    subprocess.run([_COMPILER, "-O1", *options, "-o", str(target), str(source)], check=True)
    return target


class Function:
    """Stand for one function; ctypes' users set its types."""

    def __init__(self, library: Library, name: str) -> None:
        self.library, self.name = library, name
        self.restype: Any = None
        self.argtypes: list[Any] = []

    def __call__(self, *arguments: Any) -> Any:
        for kind, argument in zip(self.argtypes, arguments, strict=True):
            kind.from_param(argument)
        result = self.library.call(self.name, *arguments)
        if self.restype is ctypes.c_void_p:
            return result or None
        return self.restype(result).value


class Library:
    """Hand calls on to a program under Wine.

    :param directory: an empty one, for Wine's files.
    """

    def __init__(self, directory: Path) -> None:
        self._environment = {
            **os.environ,
            "WINEPREFIX": str(directory / "prefix"),
            "WINEDEBUG": "-all",
            "WINEARCH": "win64",
        }
        argv = [WINE, str(compiled("server", directory))]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment)
        self.error = 0

    def __getattr__(self, name: str) -> Function:
        function = Function(self, name)
        setattr(self, name, function)
        return function

    def last_error(self) -> int:
        """Return the code of the last failure."""
        return self.error

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function; a structure that a pointer leads to is copied there and back."""
        packed = [_packed(argument) for argument in arguments]
        self._write(struct.pack("<I", len(name)) + name.encode() + struct.pack("<I", len(packed)))
        for data, _ in packed:
            self._write(
                struct.pack("<BI", 1, len(data)) + data if isinstance(data, bytes) else struct.pack("<BQ", 0, data)
            )
        assert self._process.stdin is not None
        self._process.stdin.flush()
        result, self.error = struct.unpack("<QI", self._read(12))
        for data, target in packed:
            if isinstance(data, bytes):
                found = self._read(len(data))
                if target is not None:
                    ctypes.memmove(ctypes.addressof(target), found, len(found))
        return int(result)

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        subprocess.run([_SERVER, "--wait"], env=self._environment, timeout=60, check=True)  # it still writes there

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)

    def _read(self, size: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(size)


def _packed(argument: Any) -> tuple[int | bytes, Any]:
    """Return a number or the bytes of a buffer; and the structure to copy back into, if there is one."""
    if isinstance(argument, ctypes.c_wchar_p):
        argument = argument.value
    if isinstance(argument, ctypes.Array):  # text: four bytes a character here, two there
        argument = argument[:]
    if isinstance(argument, str):
        return argument.encode("utf-16-le") + b"\0\0", None
    if type(argument).__name__ == "CArgObject":
        return bytes(argument._obj), argument._obj
    return int(argument or 0) & (1 << 64) - 1, None
