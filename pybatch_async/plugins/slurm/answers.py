# SPDX-License-Identifier: MIT
"""Read what our own scripts print on a host, among whatever the login prints there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_JOB_ID = re.compile(r"(\d+)(?:;[\w.-]+)?")  # man sbatch, --parsable
_LIMITS = re.compile(
    r"(QOS|Assoc)\w*(MaxSubmit|MaxJobs|GrpSubmit|GrpJobs)\w*|temporarily unable to accept job|queue is full", re.I
)
_UNREACHED = re.compile(r"Unable to contact slurm controller \(connect failure\)")
# slurm_errno.c: what its communication layer says, as opposed to the controller; driver.sh holds the same list.
_AMBIGUOUS = re.compile(
    r"ocket timed out|send/recv|ero Bytes|ommunication \w+ failure|essage \w+ failure|Unexpected message received|"
    r"Insane message|Header lengths|Protocol authentication|\((send|receive|shutdown) failure\)|Connection reset|"
    r"Broken pipe|onnection timed out|Unspecified error|nable to contact"
)
# sbatch ends with 255 over an option it does not understand, before it talks to anybody; but so does an ssh that a site
# wrapped around it, when its connection is lost. driver.sh holds the same list.
_USAGE = re.compile(
    r"nvalid --|is not a valid|nrecognized option|requires an argument|sbatch --help|only permitted by root"
)
_CUT = re.compile(r"EOF|short read|truncated|does not look like")


def framed(text: str, nonce: str) -> Iterator[str]:
    """Yield what follows the nonce on each line that starts with it."""
    start = f"{nonce} "
    for line in text.splitlines():
        if line.startswith(start):
            yield line[len(start) :]


def between(text: str, nonce: str) -> tuple[str, int | None]:
    """Return what stands between `NONCE begin` and `NONCE rc CODE`, and that code; None if the answer was cut."""
    _, _, rest = text.partition(f"{nonce} begin\n")
    body, found, code = rest.partition(f"{nonce} rc ")
    digits = code.strip().split("\n")[0]
    return body, int(digits) if found and digits.isdigit() else None


@dataclass(slots=True)
class Record:
    """Hold what a host told of one token.

    :param directory: the absolute work directory.
    :param lines: the lines of its record; none if it has no record.
    :param runs: what its batch script recorded, a line for each task.
    :param failure: why it was not even tried.
    :param is_alive: a driver or an sbatch is at work on it, or about to be.
    """

    directory: str = ""
    lines: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    failure: str = ""
    is_alive: bool = False

    @property
    def job_id(self) -> str:
        """The id that sbatch printed, or that the running job noted; "" if neither did."""
        ids = [match[1] for line in self.lines if (match := _JOB_ID.fullmatch(line.strip()))]
        if ids and self.code in (0, None):
            return ids[-1]
        noted = (line.split() for line in self.runs)
        return next((words[1] for words in noted if len(words) > 1 and words[1].isdigit()), "")

    @property
    def code(self) -> int | None:
        """What sbatch returned; None if it is not known to have ended."""
        codes = [line.split()[1] for line in self.lines if re.fullmatch(r"rc \d+", line)]
        return int(codes[-1]) if codes else None

    @property
    def intent(self) -> str:
        """The line with which a driver began, "" if none did; no two drivers write the same."""
        return next((line for line in self.lines if line.startswith("begin ")), "")

    @property
    def began(self) -> tuple[str, float]:
        """The host whose driver began, and when, in seconds since the epoch; ("", 0) if none did."""
        words = self.intent.split()
        return (words[2], _number(words[3])) if len(words) == 4 else ("", 0.0)

    @property
    def is_revoked(self) -> bool:
        """Tell whether the submission was called off."""
        return "revoked" in self.lines

    @property
    def said(self) -> str:
        """What sbatch said, as one line."""
        own = re.compile(r"begin .*|rc \d+|revoked|claimed")
        return " ".join(
            line.removeprefix("sbatch: ").removeprefix("error: ") for line in self.lines if not own.fullmatch(line)
        )

    @property
    def is_refused(self) -> bool:
        """Tell whether sbatch surely made no job."""
        if not self.code or is_ambiguous(self.said):
            return False
        return self.code < 128 or self.code == 255 and bool(_USAGE.search(self.said))


def is_ambiguous(said: str) -> bool:
    """Tell whether what sbatch said leaves open if it made a job; the driver on the host judges alike."""
    return bool(_AMBIGUOUS.search(_UNREACHED.sub("", said)))


def is_unreached(said: str) -> bool:
    """Tell whether sbatch found nobody to talk to, so that it is safe to try again."""
    return bool(_UNREACHED.search(said)) and not is_ambiguous(said)


def is_limit(said: str) -> bool:
    """Tell whether sbatch was refused by a limit that other jobs' ends lift."""
    return bool(_LIMITS.search(said))


@dataclass(slots=True)
class Answer:
    """Hold what a script told of many tokens.

    :param host: the front-end's own name.
    :param now: the host's clock, in seconds since the epoch.
    :param is_whole: whether the script came to its end.
    :param is_stopped: the driver stopped on the way, since the controller seems to be sick.
    :param torn: what tar said, where what was sent could not be unpacked, so that nothing was done.
    """

    records: dict[str, Record] = field(default_factory=dict)
    now: float = 0.0
    host: str = ""
    is_whole: bool = False
    is_stopped: bool = False
    torn: str | None = None
    missing_sbatch: str | None = None

    @property
    def is_cut(self) -> bool:
        """Tell whether what was sent was torn by a lost connection, and not by the disk that it was unpacked on."""
        return self.torn is not None and (not self.torn or bool(_CUT.search(self.torn)))


@dataclass(slots=True)
class AnswerReader:
    """Read the answer of driver.sh or lookup.sh as it comes.

    :param nonce: what each line of it begins with.
    :param tell: is given each token whose sbatch has returned, with its record.
    """

    nonce: str
    tell: Callable[[str, Record], None] = lambda token, record: None
    answer: Answer = field(default_factory=Answer)
    _rest: bytes = b""

    async def take(self, chunk: bytes) -> None:
        """Read what has come, as the sink of a command's output."""
        self.feed(chunk)

    def feed(self, chunk: bytes) -> None:
        """Read what has come; a last line that was cut is left."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            nonce, _, words = line.decode(errors="replace").partition(" ")
            if nonce == self.nonce:
                self._read(words)

    def _read(self, line: str) -> None:
        answer = self.answer
        verb, _, rest = line.partition(" ")
        if verb in ("job", "is", "run", "failed", "alive"):
            token, _, value = rest.partition(" ")
            record = answer.records.setdefault(token, Record())
            _note(record, verb, value)
            if verb == "is" and value.startswith("rc "):
                self.tell(token, record)
        elif verb == "now":
            answer.now = _number(rest)
        elif verb == "host":
            answer.host = rest
        elif verb == "nosbatch":
            answer.missing_sbatch = rest
        elif verb == "torn":
            answer.torn = rest
        answer.is_whole |= verb == "end"
        answer.is_stopped |= verb == "stopped"


def _number(text: str) -> float:
    """Read seconds since the epoch; 0 where the host's `date` prints something else."""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _note(record: Record, verb: str, value: str) -> None:
    if verb == "job":
        record.directory = value
    elif verb == "is":
        record.lines.append(value)
    elif verb == "run":
        record.runs.append(value)
    elif verb == "failed":
        record.failure = value
    else:
        record.is_alive = True
