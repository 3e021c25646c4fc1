"""Secrets that a development machine generates for itself."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cluster.cli.tokens import KnownStudent, Mint, token_line, write_private
from cluster.config.secrets import demo_password, jwt_secret
from cluster.config.settings import ConfigurationError, read_settings

PRODUCTION = {
    "env": "production", "database_url": "postgresql://x/y", "redis_url": "redis://x", "jwt_secret": "s" * 40,
}  # fmt: skip


def test_made_once_and_readable_by_nobody_else(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path)
    secret = jwt_secret(settings)
    assert len(secret) >= 32
    assert jwt_secret(settings) == secret != demo_password(settings)
    path = tmp_path / "secrets" / "jwt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(one.name for one in path.parent.iterdir()) == ["demo-password", "jwt"]


def test_all_who_start_at_once_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: jwt_secret(read_settings(home=tmp_path)), range(40)))
    assert len(found) == 1


def test_a_configured_secret_wins_and_is_not_kept(tmp_path: Path) -> None:
    assert jwt_secret(read_settings(home=tmp_path, jwt_secret="x" * 40)) == "x" * 40
    assert not (tmp_path / "secrets").exists()


def test_production_makes_none(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path, **PRODUCTION)
    assert jwt_secret(settings) == "s" * 40
    with pytest.raises(ConfigurationError):
        demo_password(settings)
    with pytest.raises(ConfigurationError):
        Mint(settings, 60)


def test_tokens_are_those_of_a_login(tmp_path: Path) -> None:
    from api.signin.tokens import AccessTokens

    settings = read_settings(home=tmp_path)
    token = Mint(settings, 60).token(KnownStudent(7, "S7", 70))
    principal = AccessTokens(jwt_secret(settings), 60).principal(f"Bearer {token}")
    assert (principal.user_id, principal.student_id, principal.role) == (70, 7, "student")
    assert '"student_id": 7' in token_line(KnownStudent(7, "S7", 70), token)


def test_private_files_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, ["a", "b"])
    assert path.read_text() == "a\nb\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["tokens"]
