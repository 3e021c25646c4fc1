"""Exports of rosters: who may make them, what is audited, and the answer where there is no storage."""

from __future__ import annotations

import pytest

from allocator.model.read_models import Account
from allocator.ports import StoreUnavailableError
from api.services import SERVICES
from tests.unit.api.conftest import Api, MakeApi
from tests.unit.api.fakes import ADMIN, OTHER_TEACHER, STUDENT, TEACHER, FakeExports

PATH = "/api/sections/7/roster-exports"


@pytest.fixture
def exports(api: Api) -> FakeExports:
    assert api.world.exports is not None
    return api.world.exports


@pytest.mark.parametrize("who", [ADMIN, TEACHER])
async def test_an_export_is_made_and_on_record(api: Api, exports: FakeExports, who: Account) -> None:
    answer = await api.ask("POST", PATH, who)

    assert answer.status == 201
    assert answer.body == {"url": "/api/roster-exports/1", "expires_at": "2026-09-01T08:00:00Z"}
    assert answer.headers["Cache-Control"] == "no-store"
    ((roster, user_id, with_bom),) = exports.kept
    assert (roster.section_id, user_id, with_bom) == (7, who.user_id, False)
    assert api.world.audit.entries == [(who.user_id, "roster.export", "section:7")]


@pytest.mark.parametrize(("query", "with_bom"), [("?bom=true", True), ("?bom=false", False), ("?bom=1", True)])
async def test_a_byte_order_mark_can_be_had(api: Api, exports: FakeExports, query: str, with_bom: bool) -> None:
    assert (await api.ask("POST", PATH + query, ADMIN)).status == 201
    assert exports.kept[0][2] is with_bom


async def test_a_mark_that_is_neither_is_422(api: Api, exports: FakeExports) -> None:
    assert (await api.ask("POST", PATH + "?bom=perhaps", ADMIN)).code == "invalid"
    assert exports.kept == []


@pytest.mark.parametrize("who", [STUDENT, OTHER_TEACHER])
async def test_nobody_else_exports_a_roster(api: Api, exports: FakeExports, who: Account) -> None:
    answer = await api.ask("POST", PATH, who)

    assert (answer.status, answer.code) == (403, "forbidden")
    assert exports.kept == []
    tried = [] if who is STUDENT else [(who.user_id, "roster.refused", "section:7")]
    assert api.world.audit.entries == tried


async def test_what_cannot_be_put_on_record_is_not_exported(api: Api, exports: FakeExports) -> None:
    api.world.audit.error = StoreUnavailableError("away")
    assert (await api.ask("POST", PATH, ADMIN)).code == "unavailable"
    assert exports.kept == []


async def test_an_export_of_no_section_is_404(api: Api) -> None:
    assert (await api.ask("POST", "/api/sections/8/roster-exports", ADMIN)).code == "not_found"


async def test_a_store_that_is_away_is_503(api: Api, exports: FakeExports) -> None:
    exports.error = StoreUnavailableError("s3: SlowDown")
    answer = await api.ask("POST", PATH, ADMIN)
    assert (answer.status, answer.code) == (503, "unavailable")
    assert "s3" not in answer.text


async def test_where_there_is_no_place_for_exports_it_is_501(make_api: MakeApi) -> None:
    api = await make_api()
    object.__setattr__(api.app[SERVICES], "exports", None)
    answer = await api.ask("POST", PATH, ADMIN)
    assert (answer.status, answer.code) == (501, "not_set_up")
    assert (await api.ask("GET", "/api/roster-exports/1", ADMIN)).code == "not_found"


async def test_the_file_is_for_whoever_made_it(api: Api) -> None:
    link = (await api.ask("POST", PATH, TEACHER)).body["url"]

    mine = await api.ask("GET", link, TEACHER)
    assert mine.status == 200
    assert mine.text == "a,b\r\n"
    assert mine.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert mine.headers["Content-Disposition"].startswith("attachment")
    assert mine.headers["X-Content-Type-Options"] == "nosniff"
    assert mine.headers["Cache-Control"] == "no-store"
    assert (21, "roster.download", "export:1") in api.world.audit.entries
    assert (await api.ask("GET", link, ADMIN)).code == "not_found"
    assert (await api.ask("GET", link, STUDENT)).code == "forbidden"
    assert (await api.ask("GET", link, None)).code == "unauthenticated"
