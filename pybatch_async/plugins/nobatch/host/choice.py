# SPDX-License-Identifier: MIT
"""The one place that knows there are two kinds of systems: modules of one name, one for each."""

import os

IS_WINDOWS = os.name == "nt"


def part(name):
    """Return this system's module of a name: machine, identity, ending or calling."""
    return __import__(__package__ + (".windows." if IS_WINDOWS else ".") + name, fromlist=["*"])
