"""Makes the database role that serves requests, as the owner, with the password in the role's address.

    python -m cluster.processes.database_role

It reads the same settings as ``seatline db upgrade``, which then grants the role its rights. If the role exists, only
its password is set, so that a new one takes effect.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import os
import sys
from urllib.parse import unquote, urlsplit

import asyncpg

from cluster.config.settings import ConfigurationError, plain_postgres_url, read_settings, role_of

SALT_BYTES = 16
ITERATIONS = 4096
"""What Postgres itself uses: passwords here are random and long."""

CONNECT_TIMEOUT_S = 10.0


def scram_verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """What Postgres stores for a password (RFC 5803). With it, the password itself is in no statement and no log."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    salt64, stored64, server64 = (base64.b64encode(one).decode() for one in (salt, stored_key, server_key))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"


async def ensure_role(owner_url: str, app_url: str) -> str:
    """Make the role of ``app_url``, or set its password.

    Returns:
        the name of the role.

    Raises:
        ConfigurationError: if the address names no role or no password, or the owner's role.
    """
    role, password = role_of(app_url), urlsplit(app_url).password
    if role is None or password is None or role == role_of(owner_url):
        raise ConfigurationError("DATABASE_URL must name a role other than the owner's, and its password")
    verifier = scram_verifier(unquote(password), os.urandom(SALT_BYTES))
    connection = await asyncpg.connect(plain_postgres_url(owner_url), timeout=CONNECT_TIMEOUT_S)
    try:
        exists = await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role)
        verb = "ALTER" if exists else "CREATE"
        # These cannot be parameters, so the server quotes them.
        statement = await connection.fetchval(
            f"SELECT format('{verb} ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)", role, verifier
        )
        await connection.execute(statement)
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT_S)
    return role


async def main() -> int:
    """Make the role of the configured address."""
    settings = read_settings()
    if settings.database_url is None or settings.owner_database_url is None:
        raise ConfigurationError("set DATABASE_URL and SEATLINE_OWNER_DATABASE_URL, or the files that hold them")
    role = await ensure_role(settings.owner_database_url.get_secret_value(), settings.database_url.get_secret_value())
    sys.stderr.write(f"the role {role} can log in\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except ConfigurationError as error:
        sys.stderr.write(f"database_role: {error}\n")
        sys.exit(3)
