# SPDX-License-Identifier: MIT
"""A real Jupyter kernel that awaits jobs across cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.services.nobatch_host import NobatchHost

SET_UP = """
import asyncio, gc, warnings
warnings.simplefilter("error")
loop = asyncio.get_running_loop()
faults = []
loop.set_exception_handler(lambda loop, context: faults.append(context))
tasks_before = asyncio.all_tasks()
import pybatch_async as pb
%load_ext pybatch_async.notebook
"""
COUNT_UP = """
for _ in range(500):
    await asyncio.sleep(0.02)
    tasks = asyncio.all_tasks() - tasks_before - {asyncio.current_task()}
    left = [task for task in tasks if "ipykernel" not in task.get_coro().cr_code.co_filename]  # its own run the cell
    if not left:
        break
gc.collect()
assert not left, left
assert not faults, faults
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home without any configuration, and this machine with an empty queue."""
    host = NobatchHost(tmp_path, monkeypatch)
    for name in ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
        (tmp_path / name.lower()).mkdir(mode=0o700)
    yield tmp_path
    host.close()


async def executed(home: Path, *cells: str) -> list[list[Any]]:
    """Run cells in a kernel of their own between a first and a last one, and return the outputs of each."""
    notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    new_cell: Callable[[str], Any] = nbformat.v4.new_code_cell
    notebook.cells = [new_cell(text) for text in (SET_UP, *cells, COUNT_UP)]
    options: dict[str, Any] = {"timeout": 100, "kernel_name": "python3", "resources": {"metadata": {"path": str(home)}}}
    await NotebookClient(notebook, **options).async_execute()
    outputs = [list(cell.outputs) for cell in notebook.cells]
    assert outputs[0] == outputs[-1] == []
    return outputs[1:-1]


def html(outputs: list[Any]) -> str:
    """Return what a cell displayed."""
    [output] = outputs
    return str(output["data"]["text/html"])


async def test_one_protocol_serves_all_cells(home: Path) -> None:
    outputs = await executed(
        home,
        "protocol = pb.LocalProtocol()\n"
        "params = pb.LaunchParameters(['sh', '-c', 'sleep 0.2; echo done; exit 3'], 'one', name='<b>first</b>')\n"
        "job = pb.create_job('nobatch', params, protocol)\n"
        "job",
        "await job.submit()\nwaiting = asyncio.ensure_future(job.wait())",
        "array = pb.create_job('nobatch', pb.LaunchParameters(['echo'], 'two', total_jobs=3), protocol)\n"
        "await array.submit()\n"
        "await waiting, (await job.stdout())",
        "await array.wait()\njob",
        "array",
    )
    assert "CREATED" in html(outputs[0]) and "&lt;b&gt;first&lt;/b&gt;" in html(outputs[0])
    assert outputs[1] == []
    assert "'done\\n'" in outputs[2][0]["data"]["text/plain"]
    assert "FAILED" in html(outputs[3]) and "<td>3</td>" in html(outputs[3])
    assert html(outputs[4]).count("FINISHED") >= 3 and "3/3" in html(outputs[4])


async def test_a_sweep_is_run_shown_and_run_again(home: Path) -> None:
    outputs = await executed(
        home,
        "async def number(job):\n    return int(await job.stdout())\n"
        "def make(point):\n    return pb.LaunchParameters(['expr', str(point['a'] + 1), '*', '2'], str(point['a']))\n"
        "sweep = pb.Sweep(pb.grid(a=range(5)), make, plugin='nobatch', journal='journal', collect=number)\n"
        "sweep",
        "import sys\nasync with pb.progress(sweep, stream=sys.stdout):\n    table = await sweep.run()",
        "table",
        "[row['result'] async for row in sweep.as_completed()]",
    )
    assert html(outputs[0]).count("CREATED") == 5
    assert "".join(output["text"] for output in outputs[1]).splitlines()[-1].startswith("[####################] 5/5")
    assert "<td>10</td>" in html(outputs[2])
    assert outputs[3][0]["data"]["text/plain"] == "[2, 4, 6, 8, 10]"


async def test_an_interrupted_cell_leaves_its_job_to_the_next(home: Path) -> None:
    outputs = await executed(
        home,
        "job = pb.create_job('nobatch', pb.LaunchParameters(['sleep', '100'], 'one'))\nawait job.submit()",
        "try:\n    async with asyncio.timeout(0.2):\n        await job.wait()\nexcept TimeoutError:\n    print('left')",
        "await job.cancel()\nawait job.wait()",
    )
    assert outputs[1][0]["text"] == "left\n"
    assert "FAILED" in outputs[2][0]["data"]["text/plain"]
