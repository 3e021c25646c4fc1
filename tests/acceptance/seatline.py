"""A whole Seatline, started by its own command, and a client for it."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import asyncpg
import orjson
import psutil

from allocator.model.read_models import Account, Role
from api.signin.tokens import AccessTokens
from cluster.config.runfile import read_run_file
from cluster.config.secrets import jwt_secret
from cluster.config.settings import Settings

START_TIMEOUT_S = 90.0
_keys = itertools.count(1)


@dataclass
class Seatline:
    """A running ``seatline up`` or ``serve``: a process, its URL, its home. All its commands begin with ``prefix``."""

    process: asyncio.subprocess.Process
    url: str
    home: Path
    database_url: str
    environment: dict[str, str]
    arguments: tuple[str, ...]
    prefix: tuple[str, ...] = ()

    @classmethod
    async def start(
        cls,
        home: Path,
        database_url: str,
        redis_url: str,
        *,
        arguments: tuple[str, ...] = ("up", "--no-seed"),
        prefix: tuple[str, ...] = (),
        **settings: str,
    ) -> Seatline:
        """Run ``seatline up`` on its own home with these services and wait until it is up."""
        environment = environment_of(home, database_url, redis_url, **settings)
        process, url = await cls._launch(home, environment, (*prefix, *seatline_command(), *arguments))
        return cls(process, url, home, database_url, environment, arguments, prefix)

    async def start_again(self) -> None:
        """After its end: the same once more."""
        command = (*self.prefix, *seatline_command(), *self.arguments)
        self.process, self.url = await self._launch(self.home, self.environment, command)

    @staticmethod
    async def _launch(
        home: Path, environment: dict[str, str], command: tuple[str, ...]
    ) -> tuple[asyncio.subprocess.Process, str]:
        with (home / "up.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        async with asyncio.timeout(START_TIMEOUT_S):
            while (run := read_run_file(home)) is None:
                assert not process.returncode, (home / "up.log").read_text()
                await asyncio.sleep(0.1)
        return process, run.url

    async def stop(self) -> int:
        """Ctrl-C. Returns the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            return await self.process.wait()

    async def run(self, *arguments: str) -> tuple[int, Any, str]:
        """A ``seatline`` command beside it: exit code, its JSON (None if it printed none), and standard error."""
        process = await asyncio.create_subprocess_exec(
            *self.prefix,
            *seatline_command(),
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        parsed = orjson.loads(out) if out.lstrip().startswith((b"{", b"[")) else None
        return process.returncode, parsed, err.decode() + ("" if parsed is not None else out.decode())

    def section_actor_pids(self) -> list[int]:
        """Processes of the section actors of this Seatline."""
        return self._pids_of("ray::SectionAct")

    def api_server_pids(self) -> list[int]:
        """Processes of its API servers."""
        return self._pids_of("ray::ApiServer")

    def _pids_of(self, name: str) -> list[int]:
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if child.name().startswith(name):
                    found.append(child.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    def client(self, token_ttl_s: int = 3600) -> Client:
        """A client that can speak for any student."""
        settings = Settings(home=self.home)
        return Client(self.url, AccessTokens(jwt_secret(settings), token_ttl_s))


def environment_of(home: Path, database_url: str, redis_url: str, **settings: str) -> dict[str, str]:
    """What a Seatline of this home is started with; the system picks its port unless ``settings`` do."""
    return {
        **os.environ,
        "SEATLINE_HOME": str(home),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "PORT": "0",
        **settings,
    }


def seatline_command() -> list[str]:
    """The console script of this environment."""
    return [str(Path(sys.executable).with_name("seatline"))]


@dataclass(frozen=True)
class Answer:
    """A status and the JSON that came with it."""

    status: int
    body: Any
    headers: dict[str, str]


class Client:
    """Requests to a Seatline. ``patient`` ones are sent again under their key while they are answered 503."""

    def __init__(self, url: str, tokens: AccessTokens) -> None:
        self._url = url
        self._tokens = tokens
        self._cached: dict[int, str] = {}
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    def token(self, student_id: int) -> str:
        """An access token for a student."""
        if student_id not in self._cached:
            account = Account(student_id, "", "", Role.STUDENT, None, False, student_id, str(student_id))
            self._cached[student_id] = self._tokens.issue(account)
        return self._cached[student_id]

    def staff_token(self, user_id: int, role: Role = Role.ADMIN) -> str:
        """An access token for staff."""
        return self._tokens.issue(Account(user_id, "", "", role, None, False, None, None))

    async def request(
        self, method: str, path: str, token: str | None = None, json: object = None, **headers: str
    ) -> Answer:
        """One request."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self._http.request(method, self._url + path, json=json, headers=headers) as reply:
            raw = await reply.read()
            is_json = "json" in reply.content_type
            return Answer(reply.status, orjson.loads(raw) if is_json and raw else raw, dict(reply.headers))

    async def enroll(self, student_id: int, section_id: int, *, patient: bool = False) -> Answer:
        """An enrolment under a key of its own."""
        key = f"t-{next(_keys)}"
        return await self._decided(
            "POST", "/api/enrollments", student_id, {"section_id": section_id}, key, patient=patient
        )

    async def drop(self, student_id: int, enrollment_id: int, *, patient: bool = False) -> Answer:
        """A drop under a key of its own."""
        key = f"t-{next(_keys)}"
        return await self._decided(
            "DELETE", f"/api/enrollments/{enrollment_id}", student_id, None, key, patient=patient
        )

    async def _decided(
        self, method: str, path: str, student_id: int, json: object, key: str, *, patient: bool
    ) -> Answer:
        while True:
            answer = await self.request(method, path, self.token(student_id), json, **{"Idempotency-Key": key})
            if not patient or answer.status not in {429, 503}:
                return answer
            await asyncio.sleep(0.2)


async def add_admin(database_url: str) -> int:
    """A user of the role admin; returns the user id."""
    connection = await asyncpg.connect(database_url)
    try:
        user_id: int = await connection.fetchval(
            "INSERT INTO users (email, role) VALUES (gen_random_uuid()::text, 'admin') RETURNING id"
        )
        await connection.execute("INSERT INTO admins (user_id) VALUES ($1)", user_id)
    finally:
        await connection.close()
    return user_id
