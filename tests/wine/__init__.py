# SPDX-License-Identifier: MIT
"""Check by hand the calls of kernel32.dll, and batch files, against Wine, which was written apart from Windows.

`python -m tests.wine` needs the Debian packages wine64 and gcc-mingw-w64-x86-64-win32. There is no Python under Wine:
the manager's code runs here, and a small program there makes the calls that it asks for.
"""
