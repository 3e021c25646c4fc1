"""Exports in the home directory: only for their user, and not for long."""

from __future__ import annotations

from pathlib import Path

import pytest

from allocator.model.read_models import Roster, RosterEntry
from allocator.ports import StoreUnavailableError
from persistence.exports.local import FILES_MAX, LINK_TTL_S, LocalExports

ROSTER = Roster(7, (RosterEntry(100, 1, "S001", "Ada", None),), ())


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def id_of(url: str) -> int:
    return int(url.removeprefix("/api/roster-exports/"))


async def test_an_export_is_for_its_user_alone_and_only_until_it_expires(tmp_path: Path) -> None:
    clock = Clock()
    exports = LocalExports(tmp_path / "exports", clock)
    link = await exports.put(ROSTER, user_id=21, with_bom=False)

    assert link.expires_at.timestamp() == clock.now + LINK_TTL_S
    content = await exports.get(id_of(link.url), 21)
    assert content is not None
    assert b'"Ada"' in content
    assert await exports.get(id_of(link.url), 22) is None
    assert await exports.get(id_of(link.url) + 1, 21) is None
    clock.now += LINK_TTL_S
    assert await exports.get(id_of(link.url), 21) is None


async def test_what_has_expired_is_gone_from_the_disk_with_the_next_export(tmp_path: Path) -> None:
    clock = Clock()
    exports = LocalExports(tmp_path, clock)
    await exports.put(ROSTER, user_id=21, with_bom=False)
    clock.now += LINK_TTL_S + 1
    link = await exports.put(ROSTER, user_id=21, with_bom=False)
    assert [path.stem.split("-")[2] for path in sorted(tmp_path.iterdir())] == [str(id_of(link.url))]  # noqa: ASYNC240


async def test_only_so_many_are_kept_at_all(tmp_path: Path) -> None:
    clock = Clock()
    exports = LocalExports(tmp_path, clock)
    links = []
    for _ in range(FILES_MAX + 5):
        clock.now += 1
        links.append(await exports.put(ROSTER, user_id=21, with_bom=False))
    assert await exports.get(id_of(links[0].url), 21) is None
    assert await exports.get(id_of(links[-1].url), 21) is not None
    assert len(list(tmp_path.iterdir())) == FILES_MAX  # noqa: ASYNC240


async def test_nobody_else_on_the_machine_reads_them(tmp_path: Path) -> None:
    await LocalExports(tmp_path / "exports").put(ROSTER, user_id=21, with_bom=False)
    (path,) = (tmp_path / "exports").iterdir()
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


async def test_a_disk_that_takes_nothing_is_a_service_that_is_away(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(StoreUnavailableError):
        await LocalExports(in_the_way).put(ROSTER, user_id=21, with_bom=False)
