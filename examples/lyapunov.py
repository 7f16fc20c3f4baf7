# SPDX-License-Identifier: MIT
"""The computation of the examples: is the logistic map x -> r x (1 - x) orderly or chaotic for a given r?

usage: lyapunov.py R [STEPS]      prints the Lyapunov exponent; above 0, neighbouring starts part exponentially: chaos.
"""

import math
import sys


def lyapunov_exponent(r: float, steps: int, transient: int = 1000) -> float:
    """Average log |f'(x)| along an orbit of the logistic map, once the orbit has settled."""
    x = 0.4
    for _ in range(transient):
        x = r * x * (1 - x)
    total = 0.0
    for _ in range(steps):
        x = r * x * (1 - x)
        total += math.log(max(abs(r * (1 - 2 * x)), sys.float_info.min))
    return total / steps


if __name__ == "__main__":
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    print(f"{lyapunov_exponent(float(sys.argv[1]), count):.6f}")
