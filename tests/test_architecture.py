"""Who may import whom, checked on the imports that stand in the files. The rules in words: docs/architecture.md."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("allocator", "persistence", "cluster", "api", "bench")
ALLOWED = {
    "allocator": {"allocator"},
    "persistence": {"persistence", "allocator"},
    "cluster": {"cluster", "allocator", "persistence"},
    "api": {"api", "allocator"},
    "bench": set(PACKAGES),
}
"""What each package may import of ours."""

COMPOSITION_ROOTS = {
    "cluster/processes/api_server.py": "puts the HTTP API and everything beneath it together",
    "cluster/processes/cloud.py": "puts the API together with AWS, or with what stands in for it",
    "cluster/cli/run.py": "prints the OpenAPI document",
    "cluster/cli/tokens.py": "mints tokens with the API's own function",
}
"""Files that may import from above their package, each with its reason."""

RAY = {
    "allocator/actor.py": "the shell around a section actor",
    "cluster/gateway/ray_actors.py": "calls to section actors",
    "cluster/processes/api_process.py": "the shell around an API server",
    "cluster/processes/calls.py": "repeats a call until it is answered",
    "cluster/processes/controller_process.py": "the shell around the controller",
    "cluster/processes/deployment.py": "connects to Ray, starts and finds the controller",
    "cluster/processes/ray_cluster.py": "what the controller sees of Ray and does with it",
    "cluster/processes/sigterm.py": "handles SIGTERM in a process of Ray",
    "cluster/processes/follower.py": "asks the controller for directory views",
}
"""The only files of the product that know Ray."""

ENTRY_POINTS = {
    "bench/__main__.py": "python -m bench",
    "cluster/cli/__init__.py": "the seatline command",
    "cluster/aws/node_secrets.py": "python -m, from ray_cluster.yaml",
    "cluster/processes/database_role.py": "python -m, from ray_cluster.yaml and docker-compose.yml",
    "cluster/embedded/launch.py": "run as a script, from the Makefile and embedded/processes.py",
    "persistence/schema/migrations/env.py": "run by Alembic",
    "bench/report/timeline.py": "python -m, from docs/performance.md",
}
"""Modules that nothing imports because something runs them. Beside them: migrations, peers, microbenchmarks."""
RUN_BY_NAME = ("persistence/schema/migrations/versions/", "bench/peers/", "bench/micro/")


@cache
def files() -> list[str]:
    """Every module of the product, as a path from the top."""
    return sorted(path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def module_of(path: str) -> str:
    """The dotted name of a file; a package's is that of its folder."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@cache
def names_imported(path: str) -> frozenset[str]:
    """Dotted names of everything that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(found)


@cache
def by_module() -> dict[str, str]:
    """Files by the names of their modules."""
    return {module_of(path): path for path in files()}


@cache
def files_imported(path: str) -> frozenset[str]:
    """The files of the product that a file imports: of ``from a.b import c``, module ``a.b.c``, else ``a.b``."""
    found = set()
    for name in names_imported(path):
        module = name if name in by_module() else name.rpartition(".")[0]
        if module in by_module():
            found.add(by_module()[module])
    return frozenset(found)


def folder_of(path: str) -> str:
    """The folder in which a file stands."""
    return path.rpartition("/")[0]


def folders() -> list[str]:
    """Every folder with modules."""
    return sorted({folder_of(path) for path in files()})


def test_the_walk_sees_the_project() -> None:
    assert len(files()) > 200
    assert any(name.split(".")[0] == "ray" for name in names_imported("allocator/actor.py"))
    assert "allocator/model/events.py" in files_imported("allocator/model/section.py")


@pytest.mark.parametrize("path", files())
def test_packages_import_only_what_stands_below_them(path: str) -> None:
    package = path.partition("/")[0]
    ours = {name.split(".")[0] for name in names_imported(path)} & {*PACKAGES, "tests"}
    upward = ours - ALLOWED[package]
    if path in COMPOSITION_ROOTS:
        assert upward, f"{path} is listed as a composition root, but imports nothing from above"
    else:
        assert not upward, f"{path} imports {sorted(upward)}"


def test_composition_roots_are_where_they_belong() -> None:
    assert set(COMPOSITION_ROOTS) <= set(files())
    assert {folder_of(path) for path in COMPOSITION_ROOTS} <= {"cluster/processes", "cluster/cli"}


@pytest.mark.parametrize("path", [path for path in files() if path.startswith("allocator/")])
def test_the_domain_needs_only_the_standard_library(path: str) -> None:
    allowed = {*sys.stdlib_module_names, "allocator"} | ({"ray"} if path == "allocator/actor.py" else set())
    assert {name.split(".")[0] for name in names_imported(path)} <= allowed


def test_ray_stays_behind_its_wall() -> None:
    product = [path for path in files() if not path.startswith("bench/")]
    assert {path for path in product if any(n.split(".")[0] == "ray" for n in names_imported(path))} == set(RAY)


def arrows(froms: Iterable[str], tos: Iterable[str]) -> list[str]:
    """Imports from some files to others."""
    wanted = set(tos)
    return [f"{path} -> {one}" for path in froms for one in sorted(files_imported(path) & wanted)]


def rooms() -> Iterator[tuple[str, list[str], str, list[str]]]:
    """What may not import each other: folders side by side, and a file with a folder that stands beside it."""
    inside = {folder: [path for path in files() if path.startswith(f"{folder}/")] for folder in folders()}
    for one, other in combinations(folders(), 2):
        if folder_of(one) == folder_of(other):
            yield one, inside[one], other, inside[other]
    for path in files():
        for folder in folders():
            if folder_of(folder) == folder_of(path) and not path.endswith("__init__.py"):
                yield path, [path], folder, inside[folder]


def test_no_two_rooms_import_each_other() -> None:
    """At any depth; a folder counts with all that stands in it."""
    circles = []
    for one, inside_one, other, inside_other in rooms():
        there, back = arrows(inside_one, inside_other), arrows(inside_other, inside_one)
        if there and back:
            circles.append(f"{one} and {other}:\n    " + "\n    ".join([*there[:4], "...", *back[:4]]))
    assert not circles, "\n" + "\n".join(circles)


def test_every_module_is_used() -> None:
    used = {one for path in files() for one in files_imported(path)}
    unused = [
        path
        for path in files()
        if path not in used and not path.endswith("__init__.py") and path not in ENTRY_POINTS
        if not path.startswith(RUN_BY_NAME)
    ]
    assert not unused
    assert set(ENTRY_POINTS) <= set(files())
