"""Who may import whom (DESIGN section 10), checked on the imports that stand in the files."""

from __future__ import annotations

import ast
import sys
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
COMPOSITION_ROOTS = {
    "cluster/processes/api_server.py": "puts the API together",
    "cluster/processes/cloud.py": "puts the API together with AWS, or with what stands in for it",
    "cluster/processes/api_process.py": "puts the API and its way to the actors together",
    "cluster/cli/run.py": "prints the OpenAPI document",
    "cluster/cli/data.py": "mints tokens with the API's own function",
    "cluster/cli/tokens.py": "mints tokens with the API's own function",
}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def test_the_walk_sees_the_project() -> None:
    assert len(FILES) > 40
    assert "ray" in imports(ROOT / "allocator" / "actor.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_import_only_what_they_may(path: Path) -> None:
    relative = path.relative_to(ROOT).as_posix()
    if relative in COMPOSITION_ROOTS:
        return
    package = relative.split("/", maxsplit=1)[0]
    ours = {name.split(".")[0] for name in imports(path)} & {*PACKAGES, "tests"}
    assert ours <= ALLOWED[package], f"{relative} imports {sorted(ours - ALLOWED[package])}"


@pytest.mark.parametrize("path", [p for p in FILES if p.parts[-2] == "allocator"], ids=lambda path: path.name)
def test_the_domain_needs_only_the_standard_library(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "allocator"} | ({"ray"} if path.name == "actor.py" else set())
    assert {name.split(".")[0] for name in imports(path)} <= allowed


def test_every_composition_root_exists() -> None:
    assert all((ROOT / path).exists() for path in COMPOSITION_ROOTS)
