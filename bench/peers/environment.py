"""What a peer's process is told by its environment."""

from __future__ import annotations

import os
from typing import NamedTuple

from api.signin.tokens import AccessTokens

TOKEN_TTL_S = 8 * 3600


class PeerEnvironment(NamedTuple):
    """Args:
    database_url: a database of its own, as asyncpg wants it.
    redis_url: a Redis database of its own.
    jwt_secret: what access tokens are signed with.
    port: to listen on at 127.0.0.1; the processes of a peer share it.
    sections: the ids of the sections that take part, for a peer that must prepare something for each.
    """

    database_url: str
    redis_url: str
    jwt_secret: str
    port: int
    sections: tuple[int, ...]

    @classmethod
    def read(cls) -> PeerEnvironment:
        """From this process's environment."""
        get = os.environ.__getitem__
        sections = tuple(int(one) for one in os.environ.get("BENCH_SECTIONS", "").split(",") if one)
        return cls(get("DATABASE_URL"), get("REDIS_URL"), get("SEATLINE_JWT_SECRET"), int(get("PORT")), sections)

    def variables(self) -> dict[str, str]:
        """The environment that says this."""
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
