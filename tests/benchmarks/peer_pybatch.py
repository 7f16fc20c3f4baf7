# SPDX-License-Identifier: MIT
"""Submit with salome-pybatch what standard input says; run by its own interpreter."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pybatch
from pybatch.protocols.paramiko import ParamikoProtocol


class Protocol(ParamikoProtocol):  # type: ignore[misc]  # the peer is not there to be checked
    """The protocol as it is, but for a port and a key of ours, which its parameters can not name."""

    def _open(self) -> None:
        self.client.load_host_keys(task["known_hosts"])
        self.client.connect(task["host"], port=task["port"], username=task["user"], key_filename=task["key"])


def main() -> None:
    """Submit the jobs, look at them, and print the seconds."""
    protocol = Protocol(pybatch.ConnectionParameters(task["host"], task["user"]))
    protocol.run(["true"])
    jobs = [
        pybatch.create_job(
            "slurm",
            pybatch.LaunchParameters(
                ["true"], f"{task['home']}/pybatch/{number}", "peer", partition="down", input_files=[task["input"]]
            ),
            protocol,
        )
        for number in range(task["count"])
    ]
    with ThreadPoolExecutor(task["workers"]) as pool:
        start = time.perf_counter()
        list(pool.map(lambda job: job.submit(), jobs))
        submit = time.perf_counter() - start
        start = time.perf_counter()
        states = list(pool.map(lambda job: job.state(), jobs))
        look = time.perf_counter() - start
    assert set(states) == {"QUEUED"}, states
    print(json.dumps({"submit": submit, "look": look, "note": ""}))


if __name__ == "__main__":
    task = json.load(sys.stdin)
    main()
