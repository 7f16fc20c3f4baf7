# SPDX-License-Identifier: MIT
"""The parts of the manager that only Windows hosts need: standard library only, Python 3.6 or newer."""
