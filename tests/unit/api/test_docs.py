"""The API documentation: valid, complete, true, and served without other hosts."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from api.http.openapi import openapi_document
from api.resources.docs import ASSETS, WEB
from api.resources.routes import API_ROUTES
from tests.unit.api.conftest import Api

DOCUMENT: dict[str, Any] = openapi_document(API_ROUTES)


def operations() -> list[tuple[str, str, Any]]:
    return [(path, method, one) for path, item in DOCUMENT["paths"].items() for method, one in item.items()]


def test_the_document_is_valid_openapi_3_1() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1")


def test_every_route_is_in_it_once() -> None:
    documented = {(method.upper(), path) for path, method, _ in operations()}
    assert documented == {(route.method, route.path) for route in API_ROUTES}
    names = [one["operationId"] for _, _, one in operations()]
    assert len(names) == len(set(names))


def test_every_operation_is_described_and_tagged() -> None:
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for path, method, operation in operations():
        assert operation["summary"].endswith("."), (path, method)
        assert operation["tags"][0] in tags


def test_bodies_are_as_strict_as_the_code() -> None:
    schema = DOCUMENT["components"]["schemas"]["EnrollRequest"]
    assert schema["additionalProperties"] is False
    change = DOCUMENT["paths"]["/api/admin/sections/{id}"]["patch"]["requestBody"]["content"]["application/json"]
    assert change["schema"] == {"$ref": "#/components/schemas/SectionChange", "minProperties": 1}
    assert schema["required"] == ["section_id"]
    assert schema["properties"]["section_id"] == {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}


def test_what_needs_a_token_says_so_and_tells_of_401() -> None:
    for path, _, operation in operations():
        needs_token = "security" in operation
        assert ("401" in operation["responses"]) == (needs_token or path in {"/api/auth/login", "/api/auth/refresh"})
    assert "security" not in DOCUMENT["paths"]["/api/courses"]["get"]


def test_enrolling_tells_of_every_way_it_may_end() -> None:
    answers = DOCUMENT["paths"]["/api/enrollments"]["post"]["responses"]
    assert set(answers) == {"201", "400", "401", "403", "404", "408", "409", "413", "415", "422", "429", "503"}
    for code in ("overloaded", "unavailable", "outcome_unknown"):
        assert f"`{code}`" in answers["503"]["description"]
    assert "Retry-After" in answers["429"]["headers"]


def test_an_optional_parameter_is_not_null_but_left_out() -> None:
    parameters = {one["name"]: one for one in DOCUMENT["paths"]["/api/courses"]["get"]["parameters"]}
    assert parameters["semester"]["schema"]["type"] == "string"
    assert parameters["limit"]["schema"] == {"type": "integer", "minimum": 1, "maximum": 200, "default": 50}


async def test_the_document_is_served(api: Api) -> None:
    answer = await api.ask("GET", "/api/openapi.json", None)

    assert answer.body == DOCUMENT
    tag = {"If-None-Match": answer.headers["ETag"]}
    assert (await api.ask("GET", "/api/openapi.json", None, headers=tag)).status == 304


@pytest.mark.parametrize("page", ["/api/docs", "/api/redoc"])
async def test_a_page_and_all_it_names_come_from_here(api: Api, page: str) -> None:
    answer = await api.ask("GET", page, None)

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy, "no inline scripts, no eval, no other hosts"
    named = re.findall(r'(?:src|href)="([^"]+)"', answer.text)
    assert len(named) >= 4
    for path in named:
        assert path.startswith("/api/"), path
        assert (await api.ask("GET", path, None)).status == 200, path
    assert "<script>" not in answer.text


@pytest.mark.parametrize("name", ASSETS)
async def test_an_asset_is_of_the_kind_that_its_name_says(api: Api, name: str) -> None:
    answer = await api.ask("GET", f"/api/web/{name}", None)

    kinds = {".js": "javascript", ".css": "css", ".svg": "svg"}
    assert kinds[Path(name).suffix] in answer.headers["Content-Type"]


@pytest.mark.parametrize("name", ["..%2fapp.py", "%2e%2e%2f%2e%2e%2fpyproject.toml", "swagger.html", "README.md", "x"])
async def test_nothing_else_can_be_asked_for(api: Api, name: str) -> None:
    assert (await api.ask("GET", f"/api/web/{name}", None)).status == 404


def test_the_vendored_scripts_are_as_recorded_and_have_their_licences() -> None:
    recorded = re.findall(r"^([0-9a-f]{64})  (\S+)$", (WEB / "vendor" / "README.md").read_text(), re.MULTILINE)
    assert {name.split("/")[0] for _, name in recorded} == {"swagger-ui", "redoc"}
    for digest, name in recorded:
        assert hashlib.sha256((WEB / "vendor" / name).read_bytes()).hexdigest() == digest, name
    assert sum(name.endswith("/LICENSE") for _, name in recorded) == 2


def test_redoc_does_not_fetch_its_makers_logo() -> None:
    assert "cdn.redoc.ly" not in ASSETS["redoc.standalone.js"].read_text()
