# SPDX-License-Identifier: MIT
"""Answer what a host asks during a login: password, keyboard-interactive questions, passphrases of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from ...parameters import Prompt
from ..prompting import asked
from ..waiting import resting
from .failures import Progress
from .keys import open_key

_SHOWN = 500  # characters of a host's question that are repeated to the user


@dataclass
class Secrets:
    """Hold what logins need and no repr, pickle or message may show; keys once opened stay open."""

    password: str | None = field(repr=False)
    passphrase: str | None = field(repr=False)
    prompt: Prompt | None = field(repr=False)
    opened: dict[Path, asyncssh.SSHKey] = field(default_factory=dict, repr=False)


class Client(asyncssh.SSHClient):
    """Follow one login. Every method but `ask` is called by asyncssh; nothing refused is offered twice.

    :param deadline: the deadline of the login; it rests while a human is asked.
    """

    def __init__(
        self,
        at: Progress,
        secrets: Secrets,
        encrypted: Sequence[Path],
        deadline: asyncio.Timeout,
        lost: Callable[[], None],
    ) -> None:
        self._at = at
        self._secrets = secrets
        self._encrypted = list(encrypted)
        self._deadline = deadline
        self._lost = lost
        self._password_left = secrets.password
        self._has_answered = False
        self.shown_key: asyncssh.SSHKey | None = None
        self.error: BaseException | None = None  # what the prompt raised
        self.notes: list[str] = []

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._at.is_connected = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown_key = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.shown_key = key
        return False

    def auth_banner_received(self, msg: str, lang: str) -> None:
        words = " ".join(_plain(msg).split())
        if words:
            self.notes.append(f"it said: {words[:200]!r}")

    def begin_auth(self, username: str) -> None:
        self._at.user = username
        self._at.has_authentication_begun = True

    async def public_key_auth_requested(self) -> asyncssh.SSHKey | None:
        while self._encrypted:
            key = await self._opened(self._encrypted.pop(0))
            if key is not None:
                return key
        return None

    async def password_auth_requested(self) -> str | None:
        if self._password_left is None and self._secrets.prompt and not self._has_answered:
            self._has_answered = True
            return await self.ask("Password: ")
        password, self._password_left = self._password_left, None
        return password

    def kbdint_auth_requested(self) -> str | None:
        is_able = self._password_left is not None or self._secrets.prompt is not None
        return "" if is_able and not self._has_answered else None

    async def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> Sequence[str] | None:
        answers: list[str] = []
        for question, _ in prompts:
            answer = await self._answer(question, f"{name} {instructions}".strip() if not answers else "")
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _answer(self, question: str, preamble: str) -> str | None:
        self._has_answered = True
        if self._password_left is not None and "passw" in question.lower():
            password, self._password_left = self._password_left, None
            return password
        if not self._secrets.prompt:
            self.notes.append(f"it asked {_plain(question)!r}; give a prompt to answer")
            return None
        return await self.ask(f"{preamble}\n{question}" if preamble else question)

    async def _opened(self, path: Path) -> asyncssh.SSHKey | None:
        key = self._secrets.opened.get(path)
        if key is None and self._secrets.passphrase is not None:
            key = await asyncio.to_thread(open_key, path, self._secrets.passphrase)
        elif key is None and self._secrets.prompt is not None:
            passphrase = await self.ask(f"Passphrase of the key {path}: ", is_local=True)
            key = await asyncio.to_thread(open_key, path, passphrase)
        if key is None:
            is_given = self._secrets.passphrase is not None or self._secrets.prompt is not None
            remedy = "is not opened by that passphrase" if is_given else "is encrypted: give passphrase or prompt"
            self.notes.append(f"the key {path} {remedy}")
        else:
            self._secrets.opened[path] = key
        return key

    async def ask(self, question: str, is_local: bool = False) -> str:
        """Ask the user; the login's deadline rests meanwhile."""
        assert self._secrets.prompt is not None
        who = "" if is_local else f"{self._at.user}@{self._at.host}: "
        try:
            with resting(self._deadline):
                return await asked(self._secrets.prompt, f"{who}{_plain(question)}")
        except BaseException as error:  # re-raised: asyncssh would show it as an error of its own
            self.error = error
            raise


def _plain(text: str) -> str:
    """Drop what could steer a terminal: the text comes from a host that is not logged in to yet."""
    return "".join(char for char in text if char.isprintable() or char == "\n")[:_SHOWN]
