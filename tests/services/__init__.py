# SPDX-License-Identifier: MIT
"""Start the real services the tests run against: munge, Slurm, sshd, a Kerberos realm, a faulty network."""
