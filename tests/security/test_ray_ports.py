"""What a neighbour on the network can do with the ports that Ray opens: nothing, without the token of this home.

Ray listens on every address of the machine. It has no dashboard and so no job API here: those come with packages that
are not installed. What is left are the GCS, the raylet, its agent and the workers.
"""

from __future__ import annotations

import asyncio
import os
import sys

import psutil
import pytest

from cluster.config.runfile import RunFile, read_run_file
from tests.acceptance.seatline import Seatline
from tests.security.test_processes import processes

pytestmark = pytest.mark.cluster

JOB = b'{"entrypoint": "id > /tmp/taken"}'
REQUESTS = {
    "the version": b"GET /api/version HTTP/1.1\r\nHost: x\r\n\r\n",
    "the nodes": b"GET /nodes?view=summary HTTP/1.1\r\nHost: x\r\n\r\n",
    "figures": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
    "a job": b"POST /api/jobs/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    % (len(JOB), JOB),
    "an environment": b"POST /get_or_create_runtime_env HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
}

READ_GCS = (
    "from ray._raylet import GcsClient; print(len(GcsClient(address={!r}).internal_kv_keys(b'', None, timeout=5)))"
)


def ray_ports(victim: Seatline) -> dict[tuple[str, int], str]:
    """Where its processes listen, but for the API, and which process it is."""
    api_port = int(victim.url.rpartition(":")[2])
    return {
        (connection.laddr.ip, connection.laddr.port): process.name()
        for process in processes(victim)
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port != api_port
    }


def running(victim: Seatline) -> RunFile:
    found = read_run_file(victim.home)
    assert found is not None
    return found


@pytest.mark.parametrize("name", REQUESTS)
async def test_no_port_serves_http_to_a_stranger(victim: Seatline, name: str) -> None:
    ports = ray_ports(victim)
    assert {"gcs_server", "raylet"} <= set(ports.values())
    assert 8265 not in {port for _, port in ports}, "where a dashboard would be"

    answers = {(who, where): await first_line(where, REQUESTS[name]) for where, who in ports.items()}

    let_in = {where: line for where, line in answers.items() if line.startswith(b"HTTP/") and b" 401 " not in line}
    assert let_in == {}


async def first_line(where: tuple[str, int], request: bytes) -> bytes:
    """How an answer begins; empty if there is none."""
    host, port = where
    reader, writer = await asyncio.open_connection("127.0.0.1" if host in {"::", "0.0.0.0"} else host, port)  # noqa: S104
    try:
        writer.write(request)
        async with asyncio.timeout(2):
            return (await reader.read(200)).split(b"\r\n")[0]
    except (TimeoutError, ConnectionError):
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("mode", "token", "let_in"),
    [("disabled", "", False), ("token", "b" * 64, False), ("token", "the right one", True)],
)
async def test_the_gcs_answers_holders_of_the_token_only(victim: Seatline, mode: str, token: str, let_in: bool) -> None:
    run = running(victim)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": mode, "RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    if let_in:
        assert run.ray_token_path is not None
        environment["RAY_AUTH_TOKEN_PATH"] = run.ray_token_path
    elif token:
        environment["RAY_AUTH_TOKEN"] = token

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        READ_GCS.format(run.ray_address),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()

    assert (process.returncode == 0) is let_in, err.decode()
    assert out.strip().isdigit() is let_in
    assert let_in or b"Unauthenticated" in err or b"authentication" in err.lower(), err.decode()
