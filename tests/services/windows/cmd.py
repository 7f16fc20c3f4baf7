#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""As much of cmd.exe as the batch file around a command needs: `set`, `echo`, `exit /b`, and programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys


def expanded(line: str) -> str:
    """Replace what stands between percent signs."""
    return re.sub(r"%(\w+)%", lambda found: os.environ.get(found[1], ""), line)


def run(path: str) -> int:
    """Run the lines of a batch file."""
    with open(path, encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    for line in map(expanded, lines):
        if line.lower().startswith("exit /b "):
            return int(line[8:])
        if found := re.fullmatch(r'set "(\w+)=(.*)"', line):
            os.environ[found[1]] = found[2]
        elif line.startswith("echo "):
            sys.stdout.write(f"{line[5:]}\n")
            sys.stdout.flush()
        elif line and not line.startswith(("@", "chcp ")):
            words = re.findall(r'"([^"]*)"|(\S+)', line)
            os.environ["ERRORLEVEL"] = str(subprocess.call([quoted or bare for quoted, bare in words]))
        # The next line sees the new ERRORLEVEL, since map() is lazy.
    return 0


if __name__ == "__main__":
    sys.exit(run(expanded(sys.argv[-1].strip('"'))))
