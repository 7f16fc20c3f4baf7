# SPDX-License-Identifier: MIT
"""Every error the library raises: one tree, rooted in PybatchException."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_SHOWN = 2000  # characters of a command or of its error output that a message repeats


class PybatchException(Exception):
    """Stand at the root of every error of this library."""


class ConfigurationError(PybatchException, ValueError):
    """Say that something given by the caller is wrong; nothing was sent."""


class ConnectionFailed(PybatchException, ConnectionError):
    """Say that a host was not reached, or that the connection to it was lost."""


class HostUnreachable(ConnectionFailed):
    """Say that nobody answered where the host should be: an unknown name, a wrong port, a network that is down."""


class HostKeyUnknown(ConnectionFailed):
    """Say that a host's key is not the one known_hosts holds, or that it holds none."""


class AuthenticationFailed(ConnectionFailed):
    """Say that a host refused the login."""


class CommandFailed(PybatchException):
    """Say that a command ended with a non-zero code.

    :param argv: the command and its arguments.
    :param host: where it ran.
    :param returncode: its exit code; None when the host did not tell; negative for a signal (through SshProtocol, 128
        and the signal's number).
    :param stdout: its standard output, as far as it came.
    :param stderr: its standard error, as far as it came.
    """

    def __init__(
        self, argv: Sequence[str], host: str, returncode: int | None, stdout: str = "", stderr: str = ""
    ) -> None:
        super().__init__(argv, host, returncode, stdout, stderr)
        self.argv = list(argv)
        self.host = host
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        return f"Error {self.returncode} on {self.host}, command: {self._command()}: {self._said()}"

    def _command(self) -> str:
        text = shlex.join(self.argv)
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

    def _said(self) -> str:
        return self.stderr.strip()[-_SHOWN:] or "it printed nothing on its standard error."


class CommandTimedOut(CommandFailed, TimeoutError):
    """Say that a command did not end by its deadline; what it did until then is not known.

    :param seconds: the deadline that passed.
    """

    def __init__(self, argv: Sequence[str], host: str, seconds: float, stdout: str = "", stderr: str = "") -> None:
        super().__init__(argv, host, None, stdout, stderr)
        self.args = (argv, host, seconds, stdout, stderr)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"The command {self._command()} did not end on {self.host} within {self.seconds:g} s. "
            f"Give it more time, or look there for what holds it up."
        )


class TransferFailed(PybatchException):
    """Say that a file or a directory could not be copied, read or written."""


class PathMissing(TransferFailed, FileNotFoundError):
    """Say that a file or directory to be copied or read, or the place to copy it to, does not exist."""


class SubmitFailed(PybatchException):
    """Say that a job was not submitted.

    :param message: what the scheduler said, and what to do next.
    :param transient: True where the same submission can succeed later (a submit limit, a busy controller).
    """

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message, transient)
        self.transient = transient

    def __str__(self) -> str:
        return str(self.args[0])


class StateUnknown(PybatchException):
    """Say that the state of a job could not be learnt this time; it tells nothing about the job."""


class JobLost(PybatchException):
    """Say that a submitted job is gone and that nothing recorded how it ended."""
