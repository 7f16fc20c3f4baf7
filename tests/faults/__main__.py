# SPDX-License-Identifier: MIT
"""Run the fault suite: `python -m tests.faults` runs the selection of tests/run, with `--whole` all of it (as root).

Further arguments go to pytest: `python -m tests.faults --whole -k cut`. Each scenario prints one line of figures.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def main(arguments: list[str]) -> int:
    """Run the scenarios and show their figures."""
    chosen = "whole or not whole" if "--whole" in arguments else "not whole"
    rest = [argument for argument in arguments if argument != "--whole"]
    return pytest.main([str(Path(__file__).parent), "-s", "-m", chosen, *rest])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
