# SPDX-License-Identifier: MIT
"""A Linux account that passes for a Windows host: all of the manager's own code for Windows, over doubles of Windows.

What stands here takes the places of `choice.py`, of `kernel32.py` (its methods, done with POSIX means), of the module
`msvcrt` and of cmd.exe. It shows that the queue's code for Windows decides and works as it should; it does not show
that Windows answers as its documentation says.
"""
