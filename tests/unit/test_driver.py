# SPDX-License-Identifier: MIT
"""The driver on the front-end, in the shells that sites have as /bin/sh, with a double for sbatch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pybatch_async import LaunchParameters, LocalProtocol
from pybatch_async.plugins.slurm.answers import Answer, AnswerReader
from pybatch_async.plugins.slurm.packing import members
from pybatch_async.plugins.slurm.scripts import UNPACK, script
from pybatch_async.plugins.slurm.units import Unit, units_of
from pybatch_async.plugins.staging import anchored
from pybatch_async.plugins.ticket import JobRecord
from pybatch_async.protocols.archive import tar_stream
from pybatch_async.protocols.framing import new_mark
from tests.waiting import until

_DAYS = 86400.0
# Does what the file "cue" in the work directory says, and notes that it was called.
_SBATCH = """\
#!/bin/sh
while [ "$1" != --chdir ]; do shift; done
cd "$2" && echo called >> calls
while [ -e hold ]; do sleep 0.05; done
case $(cat cue 2> /dev/null) in
    refuse) echo 'sbatch: error: Invalid qos specification'; exit 1 ;;
    away) echo 'sbatch: error: Unable to contact slurm controller (connect failure)'; exit 1 ;;
esac
echo 42
"""


class Job(JobRecord):
    """Stand for a job on this machine."""

    plugin_name = "slurm"


class Host:
    """Run the driver on archives, as a front-end would.

    :param shell: what runs it.
    """

    def __init__(self, directory: Path, shell: str) -> None:
        self.directory, self.shell, self.temporary = directory, shell, directory / "tmp"
        self.temporary.mkdir()
        sbatch = directory / "sbatch"
        sbatch.write_text(_SBATCH)
        sbatch.chmod(0o755)
        self.environment = {"PATH": f"{directory}:/usr/bin:/bin", "TMPDIR": str(self.temporary), "HOME": "/"}
        self.environment["PYBATCH_ASYNC_TICK"] = "0.3"

    def units(self, *cues: str, **fields: object) -> list[Unit]:
        """Make one job a cue."""
        units = []
        for number, cue in enumerate(cues):
            place = self.directory / f"job{number}"
            place.mkdir()
            (place / (cue if cue == "hold" else "cue")).write_text(cue)
            job = Job(LaunchParameters(["true"], str(place), **fields), LocalProtocol())  # type: ignore[arg-type]
            units += units_of(job, 11)
        return units

    async def submit(self, units: Sequence[Unit]) -> Answer:
        """Send units through the driver."""
        return await self.send(b"".join([chunk async for chunk in tar_stream(members(units))]))

    async def send(self, archive: bytes) -> Answer:
        """Have an archive unpacked and its driver run."""
        nonce, command = new_mark(), UNPACK.replace("/bin/sh", self.shell)
        assert self.shell in command
        return await self._run([self.shell, "-c", command, "sh", nonce], archive, nonce)

    async def look(self, *units: Unit) -> Answer:
        """Ask what the records of units say."""
        nonce = new_mark()
        lines = (line for unit in units for line in (unit.token, anchored(unit.job.directory), unit.intent))
        text = script("lookup.sh", nonce, ["look"], lines)
        return await self._run([self.shell, "-s"], text.encode(), nonce)

    async def _run(self, argv: list[str], data: bytes, nonce: str) -> Answer:
        def run() -> bytes:
            return subprocess.run(argv, input=data, env=self.environment, capture_output=True, timeout=60).stdout

        reader = AnswerReader(nonce)
        reader.feed(await asyncio.to_thread(run))
        return reader.answer

    def calls(self, unit: Unit) -> int:
        """Count the calls of sbatch for a unit."""
        file = Path(unit.job.directory) / "calls"
        return len(file.read_text().split()) if file.exists() else 0

    async def is_over(self) -> bool:
        """Wait until no driver is left, nor what it unpacked, nor what it started."""
        await until(lambda: not any(self.temporary.iterdir()), "the driver's end")
        await until(lambda: not self._processes(), "the end of its processes", 3.0)
        return True

    def _processes(self) -> list[str]:
        """Tell what runs with this host's environment."""
        found = []
        for file in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if f"TMPDIR={self.temporary}\0".encode() in file.read_bytes():
                    found.append(file.with_name("cmdline").read_text())
        return found


@pytest.fixture(params=["/bin/dash", "/bin/bash"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    """A host for each shell."""
    shell: str = request.param
    if not Path(shell).exists():
        shell = "/bin/sh"
    return Host(tmp_path, shell)


async def test_an_sbatch_that_hangs_goes_on_by_itself_and_the_next_is_run(host: Host) -> None:
    units = host.units("", "hold", "", "")
    answer = await host.submit(units)
    hung = answer.records.pop(units[1].token)
    assert answer.is_whole and not answer.is_stopped
    assert [record.job_id for record in answer.records.values()] == ["42"] * 3
    assert (hung.is_alive, hung.job_id, hung.code) == (True, "", None)
    seen = (await host.look(*units)).records
    assert [seen[unit.token].is_alive for unit in units] == [False, True, False, False]
    (host.directory / "job1/hold").unlink()
    assert await host.is_over()
    record = (await host.look(units[1])).records[units[1].token]
    assert (record.is_alive, record.job_id, record.code) == (False, "42", 0)
    assert [host.calls(unit) for unit in units] == [1, 1, 1, 1]


async def test_what_an_sbatch_refuses_after_the_answer_has_gone_leaves_no_trace(host: Host) -> None:
    units = host.units("hold", "")
    assert (await host.submit(units)).records[units[0].token].is_alive
    (host.directory / "job0/cue").write_text("refuse")
    (host.directory / "job0/hold").unlink()
    assert await host.is_over()
    assert not (await host.look(units[0])).records[units[0].token].lines
    assert (await host.submit(units[:1])).records[units[0].token].said == "Invalid qos specification"


async def test_three_that_hang_are_enough(host: Host) -> None:
    units = host.units("hold", "", "hold", "hold", "", "")
    answer = await host.submit(units)
    assert answer.is_stopped and answer.is_whole
    assert [answer.records[unit.token].is_alive for unit in units[:4]] == [True, False, True, True]
    assert [host.calls(unit) for unit in units] == [1, 1, 1, 1, 0, 0]
    seen = (await host.look(*units)).records
    assert not any(seen[unit.token].is_alive or seen[unit.token].lines for unit in units[4:])
    for hold in host.directory.glob("job*/hold"):
        hold.unlink()
    assert await host.is_over()
    assert [host.calls(unit) for unit in units] == [1, 1, 1, 1, 0, 0]


async def test_a_controller_that_three_could_not_reach_is_asked_no_further(host: Host) -> None:
    units = host.units("away", "away", "", "away", "away", "away", "")
    answer = await host.submit(units)
    assert answer.is_stopped and answer.is_whole
    assert [host.calls(unit) for unit in units] == [1, 1, 1, 1, 1, 1, 0]


async def test_refusals_do_not_count_as_sickness(host: Host) -> None:
    units = host.units("away", "away", "refuse", "away", "refuse", "")
    answer = await host.submit(units)
    assert not answer.is_stopped
    assert answer.records[units[-1].token].job_id == "42"


async def test_a_part_that_has_to_wait_for_one_without_an_id_is_not_begun(host: Host) -> None:
    units = host.units("hold", total_jobs=20, max_simul_jobs=2)
    answer = await host.submit(units)
    assert len(units) == 2 and answer.records[units[0].token].is_alive
    assert host.calls(units[0]) == 1
    (host.directory / "job0/hold").unlink()
    assert await host.is_over()
    assert (await host.submit(units)).records[units[1].token].job_id == "42"
    assert host.calls(units[0]) == 2  # one call a part


async def test_no_job_is_submitted_before_all_its_files_have_arrived(host: Host, tmp_path: Path) -> None:
    data = os.urandom(30_000)
    source = tmp_path / "input.dat"
    source.write_bytes(data)
    units = host.units("", input_files=[str(source)])
    archive = b"".join([chunk async for chunk in tar_stream(members(units))])
    target = Path(units[0].job.directory) / "input.dat"
    whole = len(archive) - 1024  # two blocks of zeros, which a tar may do without
    for end in [*range(0, whole - 512, 3001), whole - 1025, whole - 513, whole - 512]:
        assert (await host.send(archive[:end])).torn is not None
        assert host.calls(units[0]) == 0
    assert (await host.send(archive)).records[units[0].token].job_id == "42"
    assert target.read_bytes() == data
    assert await host.is_over()


async def test_an_answer_leaves_nothing_running(host: Host) -> None:
    host.environment["PYBATCH_ASYNC_TICK"] = "30"
    assert (await host.submit(host.units("", ""))).is_whole
    assert await host.is_over()


async def test_what_killed_drivers_left_behind_goes_after_a_day(host: Host, tmp_path: Path) -> None:
    names = ["old", "young", "foreign", "link"]
    places = {name: host.temporary / f"pybatch_async.{name:x<8}" for name in names}
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    for name in names[:3]:
        places[name].mkdir()
        (places[name] / "abs").symlink_to(kept)
    places["link"].symlink_to(kept)
    if is_root := os.getuid() == 0:
        os.chown(places["foreign"], 65534, -1)
    for name in ("old", "foreign", "link"):
        os.utime(places[name], (time.time() - 1.1 * _DAYS,) * 2)
    os.utime(places["young"], (time.time() - 0.9 * _DAYS,) * 2)
    assert (await host.submit(host.units(""))).is_whole
    await until(lambda: not places["old"].exists(), "the old one to go")
    assert [places[name].exists() for name in names] == [False, True, is_root, True]
    assert (kept / "file").exists()


async def test_an_archive_that_comes_no_further_is_given_up_a_minute_after_somebody_asks(host: Host) -> None:
    units = host.units("", input_files=["/bin/sh"])
    archive = b"".join([chunk async for chunk in tar_stream(members(units))])
    argv = [host.shell, "-c", UNPACK, "sh", new_mark()]
    silent = await asyncio.create_subprocess_exec(
        *argv, env=host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert silent.stdin
    silent.stdin.write(archive[: len(archive) // 2])
    await silent.stdin.drain()
    while not ((seen := (await host.look(*units)).records) and seen[units[0].token].is_alive):
        await asyncio.sleep(0.05)
    (note,) = host.temporary.glob("*/arrived")
    size, since = note.read_text().split()
    assert (await host.look(*units)).records[units[0].token].is_alive
    assert note.read_text().split()[1] >= since
    size = note.read_text().split()[0]
    note.write_text(f"{size} {int(since) - 60}\n")  # a minute has passed
    await host.look(*units)
    assert await silent.wait() == 0
    assert await host.is_over()
    assert not (await host.look(*units)).records[units[0].token].is_alive
    assert host.calls(units[0]) == 0
