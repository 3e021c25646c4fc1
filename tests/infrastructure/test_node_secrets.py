"""Secrets of a node: from Secrets Manager into files, and the database role that is created from one of them."""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import boto3
import pytest

from cluster.aws import node_secrets
from cluster.config.settings import ConfigurationError
from cluster.processes.database_role import ensure_role, scram_verifier


def test_the_verifier_is_the_one_of_the_standard() -> None:
    """RFC 7677, section 3."""
    verifier = scram_verifier("pencil", bytes.fromhex("5b6d99689d12358eeca04b141236fa81"), 4096)
    assert verifier == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_a_secret_alone_stays_as_it_is_and_is_quoted_within_an_address() -> None:
    secrets = {"s/redis": "p@ss/w:rd"}
    assert node_secrets.resolve("{s/redis}", secrets.__getitem__) == "p@ss/w:rd"
    address = node_secrets.resolve("rediss://:{s/redis}@cache:6379/0", secrets.__getitem__)
    assert address == "rediss://:p%40ss%2Fw%3Ard@cache:6379/0"
    assert urlsplit(address).hostname == "cache"


def test_files_are_for_their_owner_and_are_replaced(
    aws: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = boto3.client("secretsmanager")
    manager.create_secret(Name="test/ray-token", SecretString="first-token")
    manager.create_secret(Name="test/redis", SecretString="a password")
    templates = ["ray-token={test/ray-token}", "redis-url=rediss://:{test/redis}@cache:6379/0"]

    assert node_secrets.main([str(tmp_path), *templates]) == 0
    manager.put_secret_value(SecretId="test/ray-token", SecretString="second-token")
    assert node_secrets.main([str(tmp_path), *templates]) == 0

    assert (tmp_path / "ray-token").read_text() == "second-token\n"
    assert (tmp_path / "redis-url").read_text() == "rediss://:a%20password@cache:6379/0\n"
    assert {path.name for path in tmp_path.iterdir()} == {"ray-token", "redis-url"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert "token" not in capsys.readouterr().err.replace("ray-token", "")


@pytest.mark.parametrize("argument", ["ray-token", "../escape={x}", "=x", "Name={x}"])
def test_file_names_are_checked(tmp_path: Path, argument: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        node_secrets.main([str(tmp_path), argument])
    assert stopped.value.code == 2


# The role


def as_role(url: str, role: str, password: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{password}@{host}"))


async def verifier_of(database_url: str, role: str) -> str:
    connection = await asyncpg.connect(database_url)
    try:
        kept: str = await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", role)
        return kept
    finally:
        await connection.close()


@pytest.mark.services
async def test_the_role_is_made_once_and_gets_new_passwords(database_url: str) -> None:
    role = 'odd "name'
    for password in ("first", "second"):
        assert await ensure_role(database_url, as_role(database_url, "odd%20%22name", password)) == role
        kept = await verifier_of(database_url, role)
        iterations, salt = kept.removeprefix("SCRAM-SHA-256$").split("$")[0].split(":")
        import base64

        assert kept == scram_verifier(password, base64.b64decode(salt), int(iterations))
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", role)
        await connection.execute('DROP ROLE "odd ""name"')
    finally:
        await connection.close()


@pytest.mark.services
@pytest.mark.parametrize("app_url", ["postgresql://db/seatline", "postgresql://someone@db/seatline"])
async def test_a_role_needs_a_name_and_a_password(database_url: str, app_url: str) -> None:
    with pytest.raises(ConfigurationError, match="password"):
        await ensure_role(database_url, app_url)
