# SPDX-License-Identifier: MIT
"""Start a Kerberos realm (MIT krb5kdc) in a directory and on a port of its own."""

from __future__ import annotations

import os
import secrets
import subprocess

from tests.services.daemon import Daemon
from tests.services.workspace import Workspace, accepts, program, require_root

REALM = "PYBATCH.TEST"
SERVICE_HOST = "localhost"


class Realm:
    """Run one realm: its users get tickets, and its sshd accepts them."""

    def __init__(self, workspace: Workspace) -> None:
        require_root()
        self.port = workspace.free_port()
        self._directory = workspace.directory("kerberos", mode=0o700)
        self.keytab = self._directory / "host.keytab"
        self.credentials = self._directory / "ccache"
        self._kadmin = program("kadmin.local", "krb5-admin-server")
        self._kinit = program("kinit", "krb5-user")
        self._passwords: dict[str, str] = {}
        argv = [program("krb5kdc", "krb5-kdc"), "-n"]
        self._daemon = Daemon(workspace, argv, self._directory / "krb5kdc.out", self._server_environment())

    # What the client, the server and the KDC each need in their environment

    def environment(self) -> dict[str, str]:
        """The client's variables: the realm and where its tickets are."""
        return {"KRB5_CONFIG": str(self._directory / "krb5.conf"), "KRB5CCNAME": f"FILE:{self.credentials}"}

    def sshd_environment(self) -> dict[str, str]:
        """The variables of an sshd that accepts this realm's tickets."""
        return {"KRB5_CONFIG": str(self._directory / "krb5.conf"), "KRB5_KTNAME": str(self.keytab)}

    def _server_environment(self) -> dict[str, str]:
        return {**self.environment(), "KRB5_KDC_PROFILE": str(self._directory / "kdc.conf")}

    # Starting and stopping

    def start(self) -> None:
        """Make the database and the host's keytab, and start the KDC."""
        (self._directory / "krb5.conf").write_text(self._krb5_conf())
        (self._directory / "kdc.conf").write_text(self._kdc_conf())
        self._run([program("kdb5_util", "krb5-kdc"), "create", "-s", "-P", secrets.token_hex(8)])
        self._admin(f"addprinc -randkey host/{SERVICE_HOST}")
        self._admin(f"ktadd -k {self.keytab} host/{SERVICE_HOST}")
        self._daemon.start(lambda: accepts(self.port))

    def stop(self) -> None:
        """Stop the KDC."""
        self._daemon.stop()

    # Users and tickets

    def add_user(self, user: str) -> None:
        """Make a principal; sshd lets it log in as the Linux user of the same name."""
        if user not in self._passwords:
            self._passwords[user] = secrets.token_hex(8)
            self._admin(f"addprinc -pw {self._passwords[user]} {user}")

    def kinit(self, user: str, lifetime: str = "1h") -> None:
        """Get a ticket for a user, as `kinit` does; a lifetime of "1s" is soon an expired one."""
        self.add_user(user)
        self._run([self._kinit, "-f", "-l", lifetime, user], input=f"{self._passwords[user]}\n")

    def kdestroy(self) -> None:
        """Throw the tickets away."""
        self.credentials.unlink(missing_ok=True)

    def _admin(self, query: str) -> None:
        self._run([self._kadmin, "-q", query])

    def _run(self, argv: list[str], input: str = "") -> None:
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C", **self._server_environment()}
        done = subprocess.run(argv, input=input, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{argv[0]} failed: {done.stderr.strip()}")

    # Configuration

    def _krb5_conf(self) -> str:
        return f"""\
[libdefaults]
    default_realm = {REALM}
    dns_lookup_realm = false
    dns_lookup_kdc = false
    dns_canonicalize_hostname = false
    rdns = false
    forwardable = true
    clockskew = 1
    udp_preference_limit = 0
[realms]
    {REALM} = {{
        kdc = 127.0.0.1:{self.port}
    }}
[domain_realm]
    {SERVICE_HOST} = {REALM}
[logging]
    kdc = FILE:{self._directory}/kdc.log
"""

    def _kdc_conf(self) -> str:
        return f"""\
[kdcdefaults]
    kdc_listen = 127.0.0.1:{self.port}
    kdc_tcp_listen = 127.0.0.1:{self.port}
[realms]
    {REALM} = {{
        database_name = {self._directory}/principal
        key_stash_file = {self._directory}/stash
        acl_file = {self._directory}/kadm5.acl
        max_life = 10h
    }}
"""
