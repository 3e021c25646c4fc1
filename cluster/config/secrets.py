"""Secrets of a development machine: generated once and kept in the home directory, readable by nobody else."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from cluster.config.settings import ConfigurationError, Environment, Settings

SECRET_BYTES = 48
DEMO_PASSWORD_BYTES = 9


def jwt_secret(settings: Settings) -> str:
    """The secret that signs access tokens: the configured one, else that of this home.

    Raises:
        ConfigurationError: in production, if none is configured.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    return _kept(settings, "jwt", SECRET_BYTES)


def demo_password(settings: Settings) -> str:
    """The password of the demo logins of this home.

    Raises:
        ConfigurationError: in production, where there are no demo logins.
    """
    return _kept(settings, "demo-password", DEMO_PASSWORD_BYTES)


def ray_token_path(settings: Settings) -> Path:
    """The file with the token for the Ray of this home. Without it, other users of the machine cannot join."""
    _kept(settings, "ray-token", SECRET_BYTES)
    return (settings.home / "secrets" / "ray-token").resolve()


def _kept(settings: Settings, name: str, byte_count: int) -> str:
    if settings.env is Environment.PRODUCTION:
        raise ConfigurationError(f"SEATLINE_ENV=production does not generate secrets ({name})")
    directory = settings.home / "secrets"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    kept = _read(path)
    if kept is not None:
        return kept
    _make(path, secrets.token_urlsafe(byte_count))
    kept = _read(path)
    if kept is None:
        raise ConfigurationError(f"{path} is empty: remove it, and a new secret will be made")
    return kept


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None


def _make(path: Path, secret: str) -> None:
    """Write a secret atomically. If several processes do so at once, the first wins."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
        path.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)
