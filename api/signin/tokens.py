"""Access tokens: JWTs signed with HS256, each for one principal."""

from __future__ import annotations

import binascii
import hmac
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from aiohttp import web

from allocator.model.read_models import Account, Role
from api.signin.principals import Principal

ISSUER = "seatline"
AUDIENCE = "seatline-api"
ALGORITHM = "HS256"
LEEWAY_S = 5
CACHED_TOKENS_MAX = 65_536
"""The default of the setting."""


HEADER = jwt.encode({}, "any secret, since only the header is looked at", algorithm=ALGORITHM).partition(".")[0]
"""The header of every token that we issue, to the byte. So nothing in a token can choose how it is checked."""


class Claims(msgspec.Struct, frozen=True):
    """The claims of a token. Each must be there and of the right type."""

    iss: str
    aud: str
    sub: str
    role: Role
    typ: str
    iat: float
    nbf: float
    exp: float
    jti: str
    sid: int | None = None


_decode_claims = msgspec.json.Decoder(Claims).decode


class InvalidTokenError(Exception):
    """There is no token, or it is not valid. The text says why, to the metrics and not to the client."""


class AccessTokens:
    """Issues and checks access tokens.

    A check costs tens of microseconds, so its result is kept until the token expires, for the ``cached_max`` tokens
    that were used last. However a header spells scheme and spaces, there is one entry for each token. A token cannot be
    revoked before it expires: that is why it is short-lived.
    """

    def __init__(
        self, secret: str, ttl_s: int, *, cached_max: int = CACHED_TOKENS_MAX, now: Callable[[], float] = time.time
    ) -> None:
        if len(secret.encode()) < 32:
            raise ValueError("the secret that signs access tokens must have at least 32 bytes")
        self._secret = secret
        self._key = secret.encode()
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
        """The principal of a request with this Authorization header.

        Raises:
            InvalidTokenError: if there is no valid token in it.
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
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise InvalidTokenError("scheme")
        # RFC 9110 leaves the case of the scheme and the number of spaces to the client. Were each spelling kept, one
        # token could fill the memory.
        header = f"Bearer {token}"
        if header != authorization and header in self._checked:
            return self.principal(header)
        claims = self._claims(token)
        principal = _principal_of(claims)
        if self._cached_max == 0:
            return principal
        if len(self._checked) >= self._cached_max:
            self._checked.popitem(last=False)
        self._checked[header] = (claims.exp, principal)
        return principal

    def _claims(self, token: str) -> Claims:
        """The claims of a token that we signed and that is valid now.

        Checked by hand (RFC 7515, section 5.2), for one algorithm and one header: in a rush most tokens are seen for
        the first time, and a library that can do all of JOSE takes a fifth of the process for it (ADR 0011).
        """
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        try:
            right = urlsafe_b64encode(hmac.digest(self._key, signed.encode("ascii"), "sha256")).rstrip(b"=")
            if header != HEADER or not hmac.compare_digest(right, signature.encode("ascii")):
                raise InvalidTokenError("forged")
            claims = _decode_claims(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError, RecursionError) as error:
            raise InvalidTokenError("forged") from error
        if claims.iss != ISSUER or claims.aud != AUDIENCE:
            raise InvalidTokenError("forged")
        self._check_times(claims)
        return claims

    def _check_times(self, claims: Claims) -> None:
        now = self._now()
        if now >= claims.exp:
            raise InvalidTokenError("expired")
        if now + LEEWAY_S < max(claims.iat, claims.nbf):
            raise InvalidTokenError("not_yet")


ACCESS_TOKENS = web.AppKey("ACCESS_TOKENS", AccessTokens)


def _principal_of(claims: Claims) -> Principal:
    if claims.typ != "access":
        raise InvalidTokenError("not_an_access_token")
    if not claims.sub.isascii() or not claims.sub.isdigit():
        raise InvalidTokenError("forged")
    if (claims.role is Role.STUDENT) != (claims.sid is not None):
        raise InvalidTokenError("forged")
    return Principal(int(claims.sub), claims.role, claims.sid)
