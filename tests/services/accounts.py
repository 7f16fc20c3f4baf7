# SPDX-License-Identifier: MIT
"""Create the unprivileged Linux users whom the tests log in as."""

from __future__ import annotations

import os
import pwd
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.workspace import Workspace, program, require_root

SLOW_SECONDS = 0.3

# The lines of .bashrc that give a user its character.
_NOISY = "echo 'Welcome to the front-end'; echo 'quota: 12% used' >&2\n"
_SLOW = f"sleep {SLOW_SECONDS}\n"
_FAILING = "command_that_is_not_there; return 3\n"


@dataclass(frozen=True)
class Account:
    """One Linux user of the session's own."""

    user: str
    uid: int
    home: Path
    shell: str
    password: str | None = field(default=None, repr=False)


class Accounts:
    """Create users on demand; the janitor removes them.

    Names carry the session's token, as sessions may run side by side.
    """

    def __init__(self, workspace: Workspace) -> None:
        require_root()
        self._useradd = program("useradd", "passwd")
        self._workspace = workspace
        self._known: dict[str, Account] = {}

    def plain(self) -> Account:
        """A user of bash without any rc file."""
        return self._role("pbuser")

    def tcsh(self) -> Account:
        """A user whose login shell is tcsh."""
        return self._role("pbtcsh", shell=program("tcsh", "tcsh"))

    def fish(self) -> Account:
        """A user whose login shell is fish."""
        return self._role("pbfish", shell=program("fish", "fish"))

    def noisy(self) -> Account:
        """A user whose .bashrc prints on both outputs."""
        return self._role("pbnoisy", bashrc=_NOISY)

    def slow(self) -> Account:
        """A user whose .bashrc takes SLOW_SECONDS."""
        return self._role("pbslow", bashrc=_SLOW)

    def failing(self) -> Account:
        """A user whose .bashrc fails."""
        return self._role("pbfail", bashrc=_FAILING)

    def with_password(self) -> Account:
        """A user who has a password."""
        return self._role("pbpass", password=f"Pb 'q\"{os.urandom(9).hex()}")

    def _role(self, role: str, shell: str = "/bin/bash", bashrc: str = "", password: str | None = None) -> Account:
        if role not in self._known:
            self._known[role] = self.create(role, shell, bashrc, password)
        return self._known[role]

    def create(
        self, name: str, shell: str = "/bin/bash", bashrc: str = "", password: str | None = None
    ) -> Account:
        """Create a user with a home inside the workspace; the token is added to the name."""
        user = f"{name}{self._workspace.token}"
        home = self._workspace.directory("home") / user
        self._workspace.tell_janitor("user", user)
        # '*' is no password but, unlike '!', no lock either: sshd lets the keys of a locked user not in.
        argv = [self._useradd, "--no-create-home", "--user-group", "--password", "*"]
        subprocess.run([*argv, "--home-dir", str(home), "--shell", shell, user], check=True, capture_output=True)
        self._workspace.directory(f"home/{user}", owner=user)
        if bashrc:
            (home / ".bashrc").write_text(bashrc)
        if password is not None:
            subprocess.run([program("chpasswd", "passwd")], input=f"{user}:{password}\n", text=True, check=True)
        return Account(user, pwd.getpwnam(user).pw_uid, home, shell, password)
