"""A real HAProxy in place of the ALB, with the configuration of docker-compose.yml except for names and ports."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

CONFIG = Path(__file__).parents[2] / "cluster" / "containers" / "haproxy.cfg"
START_TIMEOUT_S = 10.0
SENT_TIMEOUT_S = 20.0
API_PORT = 8080


def why_not() -> str | None:
    """Why there can be none here, if there cannot."""
    return None if shutil.which("haproxy") else "haproxy is not installed (Debian: apt-get install haproxy)"


def configuration(listen: str, admin: Path, servers: dict[str, str]) -> str:
    """The one of the project, with addresses for names that only Docker knows, and a socket to steer it by."""
    text = CONFIG.read_text(encoding="utf-8")
    lines = "\n".join(f"    server {name} {address}:{API_PORT}" for name, address in servers.items())
    text, servers_found = re.subn(r"^    server-template .*$", lines, text, flags=re.MULTILINE)
    text, binds_found = re.subn(r"^    bind :8080$", f"    bind {listen}", text, flags=re.MULTILINE)
    text, _ = re.subn(r"^resolvers docker\n(    .*\n)+", "", text, flags=re.MULTILINE)
    text, limits_found = re.subn(
        r"^    maxconn 20000$", "    maxconn 2000", text, flags=re.MULTILINE
    )  # fits any ulimit
    assert (servers_found, binds_found, limits_found) == (1, 1, 1), (
        "cluster/containers/haproxy.cfg has changed its form"
    )
    return text.replace("global\n", f"global\n    stats socket {admin} mode 600 level admin\n", 1)


@dataclass
class Balancer:
    """One that runs."""

    url: str
    admin: Path

    async def say(self, command: str) -> str:
        """What it answers on its socket."""
        reader, writer = await asyncio.open_unix_connection(str(self.admin))
        try:
            writer.write(command.encode() + b"\n")
            async with asyncio.timeout(5):
                return (await reader.read()).decode()
        finally:
            writer.close()

    async def drain(self, server: str) -> None:
        """Send it nothing new, and wait until what it had is done: what the ALB does on deregistration."""
        await self.say(f"set server api/{server} state drain")
        async with asyncio.timeout(30):
            while int((await self.figures(server))["scur"]):
                await asyncio.sleep(0.05)

    async def use(self, server: str) -> None:
        """Send it requests again once it is healthy."""
        await self.say(f"set server api/{server} state ready")
        await self.until_up(server)

    async def until_up(self, *servers: str) -> None:
        """Wait for health checks."""
        async with asyncio.timeout(START_TIMEOUT_S):
            for server in servers:
                while not (await self.figures(server))["status"].startswith("UP"):
                    await asyncio.sleep(0.05)

    async def until_sent(self, server: str, count: int) -> None:
        """Wait until a server has been sent so many requests more."""
        wanted = int((await self.figures(server))["stot"]) + count
        async with asyncio.timeout(SENT_TIMEOUT_S):
            while int((await self.figures(server))["stot"]) < wanted:
                await asyncio.sleep(0.05)

    async def figures(self, server: str) -> dict[str, str]:
        """What it counts for a server, or for ``BACKEND``: all of them."""
        rows = csv.DictReader((await self.say("show stat")).removeprefix("# ").splitlines())
        return next(row for row in rows if (row["pxname"], row["svname"]) == ("api", server))


@contextlib.asynccontextmanager
async def open_balancer(directory: Path, listen: str, servers: dict[str, str]) -> AsyncIterator[Balancer]:
    """HAProxy on this machine in front of ``servers``, addresses by name."""
    admin, path = directory / "haproxy.sock", directory / "haproxy.cfg"
    path.write_text(configuration(listen, admin, servers), encoding="utf-8")
    with (directory / "haproxy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec("haproxy", "-W", "-db", "-f", str(path), stdout=log, stderr=log)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not admin.exists():
                assert process.returncode is None, (directory / "haproxy.log").read_text()
                await asyncio.sleep(0.05)
        yield Balancer(f"http://{listen}", admin)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
