# SPDX-License-Identifier: MIT
"""Start a MariaDB for slurmdbd, in a directory and on a port of its own."""

from __future__ import annotations

import secrets
import subprocess

from tests.services.daemon import Daemon
from tests.services.workspace import Workspace, program, require_root

_DATABASE = "slurm_acct_db"


class MariaDB:
    """Hold the accounting database of one cluster."""

    def __init__(self, workspace: Workspace, name: str) -> None:
        require_root()
        self._install = program("mariadb-install-db", "mariadb-server")
        self._client = program("mariadb", "mariadb-client")
        self.port = workspace.free_port()
        self.password = secrets.token_hex(16)
        self._directory = workspace.directory(f"{name}/db", owner="mysql")
        self._socket = self._directory / "socket"
        argv = [program("mariadbd", "mariadb-server"), *self._options()]
        self._daemon = Daemon(workspace, argv, workspace.directory(name) / "mariadbd.log", user="mysql")

    def _options(self) -> list[str]:
        return [
            *("--no-defaults", f"--datadir={self._directory / 'data'}", f"--socket={self._socket}"),
            *(f"--port={self.port}", "--bind-address=127.0.0.1", f"--pid-file={self._directory / 'pid'}"),
            # A database that lives for a few minutes need not survive a power cut.
            *("--skip-sync-frm", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=64M"),
            *("--innodb-buffer-pool-size=64M", "--innodb-flush-method=nosync", "--performance-schema=OFF"),
            *("--innodb-lock-wait-timeout=900", "--skip-name-resolve"),
        ]

    def start(self) -> None:
        """Make the data directory and the slurm user, and start the server."""
        self._initialise()
        self._daemon.start(self._answers)
        self._sql(
            f"create database {_DATABASE};"
            f"create user slurm@'127.0.0.1' identified by '{self.password}';"
            f"grant all on {_DATABASE}.* to slurm@'127.0.0.1';"
        )

    def stop(self) -> None:
        """Stop the server; nobody reads the files again, so at once."""
        self._daemon.kill()

    def _initialise(self) -> None:
        subprocess.run(
            [
                *(self._install, "--no-defaults", "--user=mysql", f"--datadir={self._directory / 'data'}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
                *("--innodb-flush-method=nosync", "--innodb-log-file-size=64M", "--innodb-buffer-pool-size=64M"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
        )

    def _sql(self, statements: str) -> subprocess.CompletedProcess[str]:
        argv = [self._client, "--no-defaults", f"--socket={self._socket}", "--user=root"]
        return subprocess.run(argv, input=statements, capture_output=True, text=True, check=True)

    def _answers(self) -> bool:
        try:
            self._sql("select 1")
        except subprocess.CalledProcessError:
            return False
        return True
