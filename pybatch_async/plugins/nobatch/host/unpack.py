# SPDX-License-Identifier: MIT
"""Put the files of a submission into the work directories, each job's failures apart."""

import contextlib
import os
import shutil
import tarfile

from .store import Refused, home, machine, raw, text

END = ".pybatch_async.end"  # the client's last member; where it is missing, the archive did not arrive whole
PART = b".pybatch_async.part."  # how names of unfinished files begin


class Unpacker:
    """Unpack an archive of members below "rel/", "home/", "abs/", "blobs/" and the names of further roots.

    :param base: where relative paths start.
    :param places: the work directories, absolute.
    :param done: those whose job exists already, and whose files must stay as they are.
    :param scratch: directory for the blobs, not there yet.
    :param roots: further directories, by name.
    """

    def __init__(self, base, places, done, scratch, roots):
        self.roots = {b"rel": base, b"home": home(), b"abs": b"/", b"blobs": scratch}
        self.roots.update(roots)
        self.places = set(places)
        self.done = set(done)
        self.scratch = scratch
        self.failures = {}  # work directory -> why it could not be filled

    def make(self):
        """Make the work directories."""
        for place in self.places - self.done:
            with self._blame(place):
                os.makedirs(os.path.join(place, b"logs"), exist_ok=True)
                if not os.access(place, os.W_OK | os.X_OK):
                    raise PermissionError(13, os.strerror(13))

    def unpack(self, stream):
        """Read the archive to its end.

        :raises Refused: it has none.
        """
        name = None
        try:
            with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:
                for member in archive:
                    name = member.name
                    self._place(archive, member)
        except (tarfile.TarError, EOFError) as error:
            raise Refused("The files of the submission did not arrive whole: %s." % error) from error
        if name != END:
            raise Refused("The files of the submission did not arrive whole: the end is missing.")

    def copy(self, source, place):
        """Copy a blob into a work directory."""
        if place in self.failures or place in self.done:
            return
        origin = os.path.join(self.scratch, raw(source)[len("blobs/") :])
        target = os.path.join(place, os.path.basename(origin))
        with self._blame(place):
            if os.path.isdir(origin):
                _merge(origin, target)
            else:
                _replace(target, lambda part: shutil.copy2(origin, part, follow_symlinks=False))

    def clean(self):
        """Remove the blobs."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _place(self, archive, member):
        root, _, rest = raw(member.name).partition(b"/")
        if member.name == END or root not in self.roots:
            return
        path = os.path.normpath(os.path.join(self.roots[root], rest))
        place = None if root == b"blobs" else self._owner(path)
        if place in self.done or place in self.failures:
            return
        with self._blame(place):
            machine.check_name(member.name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write(archive, member, path)

    def _owner(self, path):
        while path not in self.places and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return path

    @contextlib.contextmanager
    def _blame(self, place):
        try:
            yield
        except OSError as error:
            if place is None:
                raise
            self.failures.setdefault(place, error)


def _write(archive, member, path):
    if member.isdir():
        os.makedirs(path, exist_ok=True)
        machine.set_mode(path, member.mode | 0o700)
    elif member.issym():
        _replace(path, lambda part: os.symlink(raw(member.linkname), part))
    elif member.isreg():
        _replace(path, lambda part: _copy_out(archive, member, part))


def _copy_out(archive, member, part):
    with open(part, "wb") as file:
        shutil.copyfileobj(archive.extractfile(member), file, 1 << 18)
        machine.set_mode(part, member.mode)
    os.utime(part, (member.mtime, member.mtime))


def _replace(path, make):
    """Make a file under another name and move it to its place, so that nobody sees half of it."""
    part = os.path.join(os.path.dirname(path), PART + b"%d" % os.getpid())
    try:
        make(part)
        machine.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _merge(origin, target):
    """Copy a directory onto one that may be there already (shutil.copytree learnt that with Python 3.8)."""
    os.makedirs(target, exist_ok=True)
    for entry in os.scandir(origin):
        goal = os.path.join(target, entry.name)
        if entry.is_dir(follow_symlinks=False):
            _merge(entry.path, goal)
        else:
            _replace(goal, lambda part, path=entry.path: shutil.copy2(path, part, follow_symlinks=False))
    shutil.copystat(origin, target)


def explain(place, error):
    """Say why a work directory could not be filled, and what to do."""
    return "The work directory %s can not be written (%s): choose another one, or make room and permissions there." % (
        text(place),
        error.strerror or error,
    )
