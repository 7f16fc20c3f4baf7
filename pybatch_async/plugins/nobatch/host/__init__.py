# SPDX-License-Identifier: MIT
"""The parts of the manager that runs on the host: standard library only, Python 3.6 or newer."""
