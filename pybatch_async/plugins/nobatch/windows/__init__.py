# SPDX-License-Identifier: MIT
"""Jobs of Windows hosts: what is written for them on this side of the connection."""
