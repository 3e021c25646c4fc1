"""The configuration of a peer's process, passed in environment variables."""

from __future__ import annotations

import os
from typing import NamedTuple

from api.signin.tokens import AccessTokens

TOKEN_TTL_S = 8 * 3600


class PeerEnvironment(NamedTuple):
    """The configuration of a peer.

    Args:
        database_url: of its own database, in the form for asyncpg.
        redis_url: of its own Redis database.
        jwt_secret: signs access tokens.
        port: to listen on at 127.0.0.1; the processes of a peer share it.
        sections: ids of the sections that take part, for a peer that must prepare each of them.
    """

    database_url: str
    redis_url: str
    jwt_secret: str
    port: int
    sections: tuple[int, ...]

    @classmethod
    def read(cls) -> PeerEnvironment:
        """Read the environment of this process."""
        get = os.environ.__getitem__
        sections = tuple(int(one) for one in os.environ.get("BENCH_SECTIONS", "").split(",") if one)
        return cls(get("DATABASE_URL"), get("REDIS_URL"), get("SEATLINE_JWT_SECRET"), int(get("PORT")), sections)

    def variables(self) -> dict[str, str]:
        """The environment variables of this configuration."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "SEATLINE_JWT_SECRET": self.jwt_secret,
            "PORT": str(self.port),
            "BENCH_SECTIONS": ",".join(map(str, self.sections)),
        }

    def tokens(self) -> AccessTokens:
        """Checks tokens exactly as Seatline does, with its cache of checked ones."""
        return AccessTokens(self.jwt_secret, TOKEN_TTL_S)
