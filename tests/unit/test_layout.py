# SPDX-License-Identifier: MIT
"""The layout, drawn from the imports: they point downward and run in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pybatch_async

ROOT = Path(pybatch_async.__file__).parent
PACKAGE = "pybatch_async"

# From the roof to the ground: a module imports what is on its own floor or below. The longest prefix that fits counts.
FLOORS: list[tuple[str, ...]] = [
    ("",),  # the package's own __init__
    ("notebook",),
    ("progress",),
    ("sweep",),
    ("jobs", "job_factory", "known"),
    ("plugins.local",),
    ("plugins.slurm", "plugins.nobatch"),
    ("plugins",),
    ("protocols.asyncssh", "protocols.ssh", "protocols.local"),
    ("protocols",),
    ("validation",),
    ("interfaces",),
    ("parameters",),
    ("states", "quoting", "kinds", "targets"),
    ("errors",),
]

# What runs on hosts imports nothing of the library, and nothing of the library imports it.
ON_THE_HOST = ("plugins.nobatch.manager", "plugins.nobatch.host")


def module_name(path: Path) -> str:
    """Name a module below the package: "" for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def stands_below(name: str, prefix: str) -> bool:
    return name == prefix or (prefix != "" and name.startswith(f"{prefix}."))


def is_on_the_host(name: str) -> bool:
    return any(stands_below(name, prefix) for prefix in ON_THE_HOST)


def imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """Yield the modules of the package that one of them imports, wherever in its text it does."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[2] for alias in node.names if is_ours(alias.name))
        elif isinstance(node, ast.ImportFrom):
            yield from imported_from(node, package, known)


def imported_from(node: ast.ImportFrom, package: str, known: Mapping[str, Path]) -> Iterator[str]:
    if node.level == 0 and not is_ours(node.module or ""):
        return
    if node.level:
        above = package.split(".") if package else []
        base = ".".join([*above[: len(above) - node.level + 1], *([node.module] if node.module else [])])
    else:
        base = (node.module or "").partition(".")[2]
    for alias in node.names:
        inner = f"{base}.{alias.name}".lstrip(".")
        yield inner if inner in known else base


def is_ours(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE


def graph() -> dict[str, set[str]]:
    """Draw which module imports which; what runs on hosts is left out, as it is no part of the running library."""
    known = modules()
    return {name: set(imports(name, path, known)) - {name} for name, path in known.items() if not is_on_the_host(name)}


def floor(name: str) -> int:
    """Return the number of a module's floor, counted from the roof."""
    longest = max(
        (prefix for prefixes in FLOORS for prefix in prefixes if stands_below(name, prefix)), key=len, default=None
    )
    assert longest is not None, f"{name} has no place in the layout: give it one in FLOORS"
    return next(number for number, prefixes in enumerate(FLOORS) if longest in prefixes)


def test_the_imports_run_in_no_circle() -> None:
    list(TopologicalSorter(graph()).static_order())  # raises CycleError, which names the circle


def test_the_imports_point_downward() -> None:
    upward = [
        f"{name} imports {other}"
        for name, others in graph().items()
        for other in sorted(others)
        if floor(other) < floor(name)
    ]
    assert not upward


def test_slurm_and_nobatch_do_not_know_each_other() -> None:
    pairs = {(name, other) for name, others in graph().items() for other in others}
    slurm, nobatch = "plugins.slurm", "plugins.nobatch"
    assert not [pair for pair in pairs if stands_below(pair[0], slurm) and stands_below(pair[1], nobatch)]
    assert not [pair for pair in pairs if stands_below(pair[0], nobatch) and stands_below(pair[1], slurm)]


def test_the_coalescer_knows_neither_slurm_nor_ssh() -> None:
    assert not [other for other in graph()["plugins.coalescer"] if other.startswith(("plugins.slurm", "protocols"))]


def test_asyncssh_is_known_to_the_protocols_only() -> None:
    users = [
        name
        for name, path in modules().items()
        if not name.startswith("protocols.") and "asyncssh" in foreign_imports(path)
    ]
    assert not users


def test_what_runs_on_a_host_needs_nothing_but_its_python() -> None:
    """Of the library, it imports its own parts only, and nothing else imports these."""
    known = modules()
    inside = {name: path for name, path in known.items() if is_on_the_host(name)}
    assert inside
    for name, path in inside.items():
        assert all(map(is_on_the_host, imports(name, path, known))), name
    assert not [name for name, others in graph().items() if any(map(is_on_the_host, others))]


def foreign_imports(path: Path) -> set[str]:
    """Name the packages that a module imports from outside."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
    return found


def test_the_package_tells_the_version_that_is_installed() -> None:
    assert pybatch_async.__version__ == version("pybatch_async")
