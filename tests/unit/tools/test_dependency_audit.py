"""The audit of dependencies, with a list of vulnerabilities made for the test: it must be able to fail."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

SCRIPT = Path(__file__).parents[3] / "scripts" / "audit.py"

VULNERABILITY = {
    "id": "PYSEC-2019-217",
    "summary": "A way out of the sandbox.",
    "details": "A way out of the sandbox.",
    "modified": "2019-04-07T00:00:00Z",
    "published": "2019-04-07T00:00:00Z",
    "affected": [
        {
            "package": {"name": "jinja2", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.10.1"}]}],
            "versions": ["2.10"],
        }
    ],
}


@pytest.fixture
async def known() -> AsyncIterator[str]:
    """The address of a list that knows one vulnerability, in the protocol of OSV."""

    async def query(request: web.Request) -> web.Response:
        asked: Any = await request.json()
        is_it = (asked["package"]["name"], asked["version"]) == ("jinja2", "2.10")
        return web.json_response({"vulns": [VULNERABILITY]} if is_it else {})

    app = web.Application()
    app.router.add_post("/v1/query", query)
    server = TestServer(app)
    await server.start_server()
    yield str(server.make_url("/v1/query"))
    await server.close()


async def audit(tmp_path: Path, pins: str, url: str, *options: str) -> tuple[int | None, str]:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(pins)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SCRIPT),
        *("--requirements", str(requirements), "-s", "osv", "--osv-url", url, "--timeout", "3"),
        *("--cache-dir", str(tmp_path / "cache"), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_a_pin_with_a_known_vulnerability_fails_and_is_named(tmp_path: Path, known: str) -> None:
    code, output = await audit(tmp_path, "jinja2==2.10\nidna==3.7\n", known)

    assert code == 1
    assert "jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1" in output
    assert "FAILED: 1 of 2 packages" in output


async def test_pins_without_one_pass(tmp_path: Path, known: str) -> None:
    code, output = await audit(tmp_path, "jinja2==3.1.6\nidna==3.7\n", known, "--strict")

    assert (code, output) == (0, "audit: 2 packages, no known vulnerability\n")


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
async def test_nobody_to_ask_is_said_and_is_not_a_pass_when_it_must_not_be(
    tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    answered, output = await audit(tmp_path, "jinja2==2.10\n", "http://127.0.0.1:1/v1/query", *options)

    assert answered == code
    assert "NOT DONE: could not reach a list of vulnerabilities" in output
    assert "no known vulnerability" not in output
