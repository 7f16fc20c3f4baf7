# SPDX-License-Identifier: MIT
"""Draw the chart of the benchmark from what standard input says; run by the interpreter that has matplotlib."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402 - the backend has to be chosen first


def main() -> None:
    """Draw submission on the left, looking on the right."""
    data = json.load(sys.stdin)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), width_ratios=(3, 2))
    names = list(next(iter(data["submit"].values())))
    height = 0.8 / len(data["submit"])
    for number, (link, bars) in enumerate(data["submit"].items()):
        places = [place + number * height for place in range(len(names))]
        drawn = left.barh(places, [bars[name] for name in names], height, label=link)
        left.bar_label(drawn, fmt="%.1f", padding=2, fontsize=8)
    left.set_xscale("log")
    left.set_yticks([place + height / 2 for place in range(len(names))], names, fontsize=8)
    left.invert_yaxis()
    left.margins(x=0.15)
    left.set_xlabel("ms a submitted job (logarithmic)")
    left.legend(fontsize=8)
    for link in dict.fromkeys(look[0] for look in data["looks"]):
        rows = [look for look in data["looks"] if look[0] == link]
        (line,) = right.plot([row[1] for row in rows], [row[3] for row in rows], "o-", label=f"this library, {link}")
        right.plot([r[1] for r in rows], [r[2] for r in rows], "--", color=line.get_color(), label=f"squeue, {link}")
    right.set_xlabel("jobs")
    right.set_ylabel("ms for the states of all")
    right.set_ylim(bottom=0)
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(data["path"], dpi=110)


if __name__ == "__main__":
    main()
