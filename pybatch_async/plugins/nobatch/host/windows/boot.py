# SPDX-License-Identifier: MIT
"""Where every process of the queue begins on Windows: `python -I -S boot.py WORD ...`.

A call of a client is `VERB MARK [FRAME]`. The frame is for its protocol: a line with it comes before everything else
on standard output, and a line with it and the exit code at the end of standard error.
"""

import os
import sys


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
        reading = _part("host.windows.reading")
        if verb == "fetch":
            reading.fetch(mark, sys.stdin.buffer)
        else:
            _part("manager").main(verb, mark, sys.stdin.buffer, reading.VERBS)
        code = 0
    finally:
        if frame:
            sys.stderr.write("\n%s %d\n" % (frame, code))
    return code


if __name__ == "__main__":
    role, words = sys.argv[1], sys.argv[2:]
    sys.exit(_serve(role, words) if role in ("keeper", "shepherd", "command") else _answer(role, *words))
