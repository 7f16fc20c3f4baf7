# SPDX-License-Identifier: MIT
"""Get the Kerberos ticket for a host before the login needs it: the library that does it blocks, and says why not."""

from __future__ import annotations

import asyncio

from ...errors import AuthenticationFailed, ConfigurationError


async def get_ticket(host: str) -> None:
    """Get the service ticket of a host into the credentials cache, in a thread.

    :param host: the host's own name, as its Kerberos principal has it.
    :raises ConfigurationError: the package gssapi is missing.
    :raises AuthenticationFailed: there is no ticket, it has expired, or the realm does not know the host.
    """
    try:
        from gssapi.exceptions import GSSError  # type: ignore[attr-defined]
    except (ImportError, OSError) as error:  # OSError: the package is there, the Kerberos library is not
        raise ConfigurationError(
            f"gss_auth needs the package gssapi, which is not usable here ({error}): "
            f"pip install gssapi, which needs MIT Kerberos (libkrb5-dev)."
        ) from error
    try:
        await asyncio.to_thread(_first_step, host)
    except GSSError as error:
        raise AuthenticationFailed(
            f"There is no valid Kerberos ticket for {host}: {_reason(error)}. Run kinit, then try again."
        ) from error


def _first_step(host: str) -> None:
    import gssapi

    name = gssapi.Name(f"host@{host}", gssapi.NameType.hostbased_service)
    credentials = gssapi.Credentials(usage="initiate")
    gssapi.SecurityContext(name=name, creds=credentials, usage="initiate").step()


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    _, _, minor = text.partition("Minor (")
    _, _, minor = minor.partition("): ")
    return (minor or text).rstrip(".")
