# SPDX-License-Identifier: MIT
"""Private key files: which there are, which are encrypted, and opening those. All of it reads files: use a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from ...errors import ConfigurationError
from ..key_files import found_keys

_USUAL = ("id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Sort the private key files to offer.

    :param explicit: the named ones, plain or encrypted; None to leave the choice to the ssh configuration.
    :param encrypted: those that need a passphrase.
    :param in_agent: public parts of the explicitly named ones, to pick them in the agent.
    """

    explicit: Sequence[str] | None
    encrypted: Sequence[Path]
    in_agent: Sequence[bytes]


def find_keys(explicit: Sequence[str | Path] | None, configured: Sequence[str]) -> KeyFiles:
    """Look at the key files.

    :param explicit: those of the connection parameters.
    :param configured: IdentityFile of the ssh configuration; empty for the usual ones.
    :raises ConfigurationError: an explicitly named one can not be used.
    """
    if explicit is None:
        usual = configured or [f"~/.ssh/{name}" for name in _USUAL]
        return KeyFiles(None, [path for name in usual if _is_encrypted(path := Path(name).expanduser())], ())
    paths = found_keys(explicit)
    for path in paths:
        _check(path)
    encrypted = [path for path in paths if _is_encrypted(path)]
    return KeyFiles([str(path) for path in paths], encrypted, [blob for path in paths if (blob := _public(path))])


def open_key(path: Path, passphrase: str) -> asyncssh.SSHKey | None:
    """Decrypt a private key file; None where it is not this passphrase."""
    try:
        return asyncssh.read_private_key(path, passphrase)
    except (OSError, ValueError):
        return None


def _is_encrypted(path: Path) -> bool:
    try:
        asyncssh.read_private_key(path)
    except OSError:
        return False
    except ValueError as error:
        return str(error).startswith("Passphrase")
    return False


def _check(path: Path) -> None:
    try:
        asyncssh.read_private_key(path)
    except OSError as error:
        raise ConfigurationError(f"client_keys: {str(path)!r} can not be read: {error.strerror}.") from error
    except ValueError as error:
        if not str(error).startswith("Passphrase"):
            raise ConfigurationError(f"client_keys: {str(path)!r} is no private key: {error}.") from error


def _public(path: Path) -> bytes | None:
    for name in (f"{path}.pub", path):
        try:
            return asyncssh.read_public_key(name).public_data
        except (OSError, ValueError):
            continue
    return None
