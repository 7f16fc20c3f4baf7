# SPDX-License-Identifier: MIT
"""The fault suite: what the guarantee in docs/guarantees.md says, held against real Slurm and real sshd."""
