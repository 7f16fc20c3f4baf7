# SPDX-License-Identifier: MIT
"""Give a client the files of a Windows host: there is no sh, cat or tar to ask for them."""

import base64
import json
import os
import sys
import tarfile

from ..store import absolute, text
from . import machine


def read(store, request, base, stream):
    """Return a piece of each file in base64, and None for one that is not there."""
    pieces = [_piece(absolute(path, base), offset, request["most"]) for path, offset in request["files"]]
    return {"pieces": pieces}


VERBS = {"read": read}


def _piece(path, offset, most):
    try:
        with machine.patiently(open, path, "rb") as file:
            file.seek(offset)
            return base64.b64encode(file.read(most)).decode("ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None


def fetch(mark, stream):
    """Send files and directories as a tar archive, after a line with the answer.

    :param mark: what begins that line.
    """
    output = sys.stdout.buffer
    request = json.loads(stream.readline().decode("ascii"))
    paths = [absolute(path, os.getcwdb()) for path in request["paths"]]
    missing = [number for number, path in enumerate(paths) if not os.path.lexists(path)]
    answer = {"missing": missing[0]} if missing else {"archive": True}
    output.write(("\n%s %s\n" % (mark, json.dumps(answer))).encode("ascii"))
    if not missing:
        try:
            _send(paths, request["names"], output)
        except OSError as error:  # the archive is cut, and the client takes nothing of it
            sys.stderr.write("%s\n" % error)
    output.flush()


def _send(paths, names, output):
    archive = tarfile.open(
        fileobj=output, mode="w|", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
    )
    for path, name in zip(paths, names):
        archive.add(text(path), arcname="./" + (name or text(os.path.basename(path))), filter=_plain)
    archive.close()


def _plain(member):
    """Leave out what is none of the client's, such as unfinished copies."""
    is_ours = any(part.startswith(".pybatch_async.part.") for part in member.name.split("/"))
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return None if is_ours else member
