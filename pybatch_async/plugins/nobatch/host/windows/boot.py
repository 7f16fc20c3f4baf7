# SPDX-License-Identifier: MIT
"""Where every process of the queue begins on Windows: `python -I -S boot.py WORD ...`.

A call of a client is `VERB MARK [FRAME]`. The frame is for its protocol: a line with it comes before everything else
on standard output, and a line with it and the exit code at the end of standard error.
"""

import json
import os
import sys
import traceback

PROBE = (
    b"\x00\xff\r\n\n"  # what comes first on standard input; only a shell that hands bytes on as they are lets it pass
)
_REWRITTEN = (
    "The shell that sshd starts here changes what is sent through it, as PowerShell does: have it start cmd.exe, which "
    "it does where no DefaultShell is set in the registry (HKLM\\SOFTWARE\\OpenSSH)."
)


def _part(name):
    """Return a module of the package that this file is placed in, whatever the package's name is."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.dirname(root) not in sys.path:
        sys.path.insert(0, os.path.dirname(root))
    return __import__("%s.%s" % (os.path.basename(root), name), fromlist=["*"])


def _serve(role, words):
    """Be a process of the queue's own."""
    if role == "command":
        return _part("host.windows.command").main()
    store = _part("host.store")
    place = store.Store(store.default_root()).open()
    if role == "keeper":
        _part("host.windows.keeper").main(place)
    else:
        _part("host.windows.shepherd").main(place, words[0], int(words[1]))
    return 0


def _answer(verb, mark, frame=""):
    """Answer a client."""
    if frame:
        sys.stdout.write(frame + "\n")
        sys.stdout.flush()
    code = 1
    try:
        if sys.stdin.buffer.read(len(PROBE)) != PROBE:
            sys.stdout.write("\n%s %s\n" % (mark, json.dumps({"error": _REWRITTEN})))
            sys.stdout.flush()
        elif verb == "fetch":
            _part("host.windows.reading").fetch(mark, sys.stdin.buffer)
        else:
            _part("manager").main(verb, mark, sys.stdin.buffer, _part("host.windows.reading").VERBS)
        code = 0
    except Exception:  # it has to be told before the frame's end
        traceback.print_exc()
    finally:
        if frame:
            sys.stderr.write("\n%s %d\n" % (frame, code))
    return code


if __name__ == "__main__":
    role, words = sys.argv[1], sys.argv[2:]
    sys.exit(_serve(role, words) if role in ("keeper", "shepherd", "command") else _answer(role, *words))
