"""Access tokens: JWTs signed with HS256, and who they speak for."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from allocator.read_models import Account, Role

ISSUER = "seatline"
AUDIENCE = "seatline-api"
ALGORITHM = "HS256"
LEEWAY_S = 5
REQUIRED_CLAIMS = ("iss", "aud", "sub", "role", "typ", "iat", "nbf", "exp", "jti")
CACHED_TOKENS_MAX = 65_536
"""Unless the settings say otherwise."""


class InvalidTokenError(Exception):
    """No token, or none that we would sign and accept today. Why is for the metrics, not for the client."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. ``student_id`` is set for students only."""

    user_id: int
    role: Role
    student_id: int | None


class AccessTokens:
    """Issues and checks access tokens.

    A check costs tens of microseconds, so what was found is kept until the token expires, for the last
    ``cached_max`` tokens used. A token cannot be revoked before it expires: that is why it is short-lived.
    """

    def __init__(
        self, secret: str, ttl_s: int, *, cached_max: int = CACHED_TOKENS_MAX, now: Callable[[], float] = time.time
    ) -> None:
        if len(secret.encode()) < 32:
            raise ValueError("the secret that signs access tokens must have at least 32 bytes")
        self._secret = secret
        self._now = now
        self._cached_max = cached_max
        self._checked: OrderedDict[str, tuple[float, Principal]] = OrderedDict()
        self.ttl_s = ttl_s

    def issue(self, account: Account) -> str:
        """A token that speaks for the account for the next ``ttl_s`` seconds."""
        now = int(self._now())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(account.user_id),
            "role": account.role.value,
            "typ": "access",
            "iat": now,
            "nbf": now,
            "exp": now + self.ttl_s,
            "jti": secrets.token_urlsafe(12),
        }
        if account.student_id is not None:
            claims["sid"] = account.student_id
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)

    def principal(self, authorization: str | None) -> Principal:
        """Whom the value of an Authorization header speaks for.

        Raises:
            InvalidTokenError: if it speaks for nobody.
        """
        if authorization is None:
            raise InvalidTokenError("missing")
        known = self._checked.get(authorization)
        if known is not None:
            expires_at, principal = known
            if self._now() < expires_at:
                self._checked.move_to_end(authorization)
                return principal
            del self._checked[authorization]
        return self._check(authorization)

    def _check(self, authorization: str) -> Principal:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise InvalidTokenError("scheme")
        claims = self._claims(token.strip())
        principal = _principal_of(claims)
        if self._cached_max == 0:
            return principal
        if len(self._checked) >= self._cached_max:
            self._checked.popitem(last=False)
        self._checked[authorization] = (float(claims["exp"]), principal)
        return principal

    def _claims(self, token: str) -> Mapping[str, Any]:
        try:
            # Only the algorithm and the key named here count; alg, kid, jku and the like in the token do not.
            claims: dict[str, Any] = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=LEEWAY_S,
                options={
                    "require": list(REQUIRED_CLAIMS),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.InvalidTokenError, ValueError, TypeError, RecursionError) as error:
            raise InvalidTokenError("forged") from error
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        """Against our clock, which tests can move; PyJWT would ask its own."""
        now = self._now()
        times = [claims["iat"], claims["nbf"], claims["exp"]]
        if not all(type(one) is int or type(one) is float for one in times):
            raise InvalidTokenError("forged")
        issued_at, not_before, expires_at = times
        if now >= expires_at:
            raise InvalidTokenError("expired")
        if now + LEEWAY_S < max(issued_at, not_before):
            raise InvalidTokenError("not_yet")


def _principal_of(claims: Mapping[str, Any]) -> Principal:
    if claims["typ"] != "access":
        raise InvalidTokenError("not_an_access_token")
    try:
        role = Role(claims["role"])
        user_id = int(claims["sub"])
    except (ValueError, TypeError) as error:
        raise InvalidTokenError("forged") from error
    student_id = claims.get("sid")
    if (role is Role.STUDENT) != (type(student_id) is int):
        raise InvalidTokenError("forged")
    return Principal(user_id, role, student_id)
