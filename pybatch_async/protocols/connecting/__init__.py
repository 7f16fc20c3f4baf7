# SPDX-License-Identifier: MIT
"""Connections of asyncssh: logging in, keeping them, running commands on them."""
