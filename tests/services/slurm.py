# SPDX-License-Identifier: MIT
"""Start a Slurm cluster: slurmdbd on MariaDB, slurmctld and several slurmd on this machine."""

from __future__ import annotations

import contextlib
import os
import subprocess

from tests.services.accounts import Account
from tests.services.daemon import Daemon
from tests.services.mariadb import MariaDB
from tests.services.munge import Munge
from tests.services.slurm_config import SlurmOptions, SlurmPlaces, write_slurm_conf, write_slurmdbd_conf
from tests.services.workspace import Workspace, accepts, program, require_root, wait_until

ACCOUNT = "physics"
QOS = "urgent"
QOS_LIMITED = "limited"  # at most two submitted jobs a user: the third is back-pressure
WCKEY = "pybatch:test"


class SlurmCluster:
    """Run one cluster; a part of it can be stopped and started again, as happens to real ones."""

    def __init__(self, workspace: Workspace, munge: Munge, options: SlurmOptions) -> None:
        require_root()
        self.options = options
        self.nodes = [f"n{number + 1}" for number in range(options.nodes)]
        self._munge = munge
        directory = workspace.directory(f"slurm-{options.name}")
        self.places = SlurmPlaces(
            directory=directory,
            munge_socket=munge.socket,
            controller_port=workspace.free_port(),
            slurmdbd_port=workspace.free_port(),
            node_ports={node: workspace.free_port() for node in self.nodes},
        )
        self._slurmctld = self._daemon(workspace, "slurmctld", "slurmctld", "-D")
        self._slurmds = {node: self._daemon(workspace, "slurmd", "slurmd", "-D", "-N", node) for node in self.nodes}
        self._slurmdbd = self._daemon(workspace, "slurmdbd", "slurmdbd", "-D") if options.accounting else None
        self._database = MariaDB(workspace, directory.name) if options.accounting else None
        program("sbatch", "slurm-client")

    def _daemon(self, workspace: Workspace, name: str, package: str, *arguments: str) -> Daemon:
        log = self.places.directory / f"{'.'.join([name, *arguments[2:]])}.out"
        return Daemon(workspace, [program(name, package), *arguments], log, environment=self.environment())

    # Starting and stopping the whole

    def start(self) -> None:
        """Start every daemon and wait until the nodes take jobs."""
        if not self.places.slurm_conf.exists():
            self._set_up()
        self.start_controller()
        for node in self.nodes:
            self._slurmds[node].launch()  # all, so that none waits for the other
        for node in self.nodes:
            self.start_node(node)

    def _set_up(self) -> None:
        write_slurm_conf(self.places, self.options)
        if self._database is not None:
            self._start_accounting(self._database)

    def _start_accounting(self, database: MariaDB) -> None:
        database.start()
        write_slurmdbd_conf(self.places, database.port, database.password)
        self.start_slurmdbd()
        self._sacctmgr(
            f"add cluster {self.options.name}",
            f"add account {ACCOUNT} cluster={self.options.name}",
            f"add qos {QOS},{QOS_LIMITED}",
            f"modify qos {QOS_LIMITED} set MaxSubmitJobsPerUser=2 Flags=DenyOnLimit",
            self._admission("root"),
        )

    def close(self) -> None:
        """Cancel all jobs and end every daemon, at once: nobody reads its files again."""
        if self._slurmctld.is_running:
            self._cancel_all()
        for daemon in (*self._slurmds.values(), self._slurmctld):
            daemon.kill()
        if self._slurmdbd is not None and self._database is not None:
            self._slurmdbd.kill()
            self._database.stop()

    def _cancel_all(self) -> None:
        """Cancel the jobs of all users and wait for their ends, else their slurmstepd would stay behind."""
        self.command("scancel", "--state=PENDING", check=False)
        self.command("scancel", "--full", "--signal=KILL", "--state=RUNNING", check=False)
        with contextlib.suppress(TimeoutError):
            wait_until(lambda: not self.command("squeue", "-h", "-o", "%i", check=False), "the jobs to end", 10)

    def stop(self) -> None:
        """Stop the nodes and the controller, which keep their state; accounting goes on."""
        for node in self.nodes:
            self.stop_node(node)
        self.stop_controller()

    # Its parts

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers."""
        self._slurmctld.start(self.controller_answers)

    def stop_controller(self) -> None:
        """Stop slurmctld as its site would; it keeps its state."""
        self._slurmctld.stop()

    def kill_controller(self) -> None:
        """End slurmctld as a crash would."""
        self._slurmctld.kill()

    def pause_controller(self) -> None:
        """Freeze slurmctld: requests are accepted and not answered."""
        self._slurmctld.pause()

    def resume_controller(self) -> None:
        """Let a frozen slurmctld go on."""
        self._slurmctld.resume()

    def start_slurmdbd(self) -> None:
        """Start slurmdbd and wait until it listens."""
        assert self._slurmdbd is not None, "this cluster has no accounting"
        self._slurmdbd.start(lambda: accepts(self.places.slurmdbd_port))

    def stop_slurmdbd(self) -> None:
        """Stop slurmdbd."""
        if self._slurmdbd is not None:
            self._slurmdbd.stop()

    def start_node(self, node: str) -> None:
        """Start the slurmd of a node and wait until it takes jobs."""
        self._slurmds[node].start(lambda: accepts(self.places.node_ports[node]))
        self.wait_idle(node)

    def stop_node(self, node: str) -> None:
        """Stop the slurmd of a node."""
        self._slurmds[node].stop()

    def kill_node(self, node: str) -> None:
        """End the slurmd of a node as a crash would; running jobs go on, as slurmstepd is another process."""
        self._slurmds[node].kill()

    # Asking and telling it

    @property
    def slurm_conf(self) -> str:
        """The value of SLURM_CONF."""
        return str(self.places.slurm_conf)

    def environment(self) -> dict[str, str]:
        """The variables that point Slurm's commands at this cluster."""
        return {"SLURM_CONF": self.slurm_conf}

    def command(self, *argv: str, user: str | None = None, check: bool = True, input: str = "") -> str:
        """Run a Slurm command against this cluster and return its standard output.

        :param argv: the program's name and its arguments.
        :param user: run it as this Linux user, not as root.
        :param check: raise CommandError, which shows standard error, when the exit code is not 0.
        :param input: what the command reads on standard input.
        """
        done = subprocess.run(
            [program(argv[0], "slurm-client"), *argv[1:]],
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **self.environment()},
            input=input,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if check and done.returncode != 0:
            raise CommandError(f"{' '.join(argv)}: exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def admit(self, account: Account) -> None:
        """Let a Linux user submit jobs: where limits are enforced, that takes an association."""
        if self.options.accounting:
            self._sacctmgr(self._admission(account.user))

    def _admission(self, user: str) -> str:
        rights = f"account={ACCOUNT} qos=normal,{QOS},{QOS_LIMITED} wckey={WCKEY}"
        return f"add user {user} cluster={self.options.name} {rights}"

    def _sacctmgr(self, *lines: str) -> None:
        """Give sacctmgr several lines at once; one that fails shows up when a job is refused."""
        self.command("sacctmgr", "--immediate", "--quiet", input="\n".join([*lines, "quit", ""]))

    def controller_answers(self) -> bool:
        """Say whether slurmctld answers."""
        return "is UP" in self.command("scontrol", "ping", check=False)

    def wait_idle(self, *nodes: str, timeout: float = 30.0) -> None:
        """Block until the nodes (all, if none is named) take jobs."""
        wanted = ",".join(nodes or self.nodes)

        def take_jobs() -> bool:
            states = self.command("sinfo", "-h", "-N", "-p", "main", "-n", wanted, "-o", "%T", check=False).split()
            return bool(states) and set(states) <= {"idle", "mixed", "allocated"}

        wait_until(take_jobs, f"the nodes {wanted} to take jobs", timeout)


class CommandError(Exception):
    """Show what a Slurm command answered."""
