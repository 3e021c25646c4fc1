"""Sessions: login, refresh, logout, and who is logged in."""

from __future__ import annotations

import hashlib
import unicodedata
from datetime import UTC, datetime, timedelta

from aiohttp import web

from allocator.model.read_models import Account, RefusedRefresh
from api.http import problems
from api.http.audit import note
from api.http.bodies import JsonBody
from api.http.errors import ApiError, rate_limited
from api.http.replies import empty_reply, json_reply
from api.http.routing import Access, Answer, Route
from api.http.typed_text import tidy
from api.monitoring.metrics import METRICS
from api.schemas.auth import LoginRequest, MeReply, RefreshRequest, TokenReply
from api.services import SERVICES, ApiConfig
from api.signin.passwords import PASSWORDS
from api.signin.principals import PRINCIPAL
from api.signin.refresh_tokens import hash_of, new_refresh_token
from api.signin.tokens import ACCESS_TOKENS, InvalidTokenError

LOGIN = JsonBody(LoginRequest)
REFRESH = JsonBody(RefreshRequest)

SAME_EMAIL_FACTOR = 10
"""How many times as often all addresses together may try an email as one address may: enough that its owner gets in
while somebody else guesses, too little to guess a password."""


async def login(request: web.Request) -> web.Response:
    """Exchange email and password for tokens.

    A wrong email and a wrong password get the same answer, after the same time.
    """
    wanted = await LOGIN.read(request)
    email = tidy(wanted.email).lower()
    password = unicodedata.normalize("NFC", wanted.password)  # as most keyboards send it
    await _limit_logins(request, email)
    accounts = request.app[SERVICES].accounts
    account = await accounts.by_email(email)
    old_hash = None if account is None else account.password_hash
    check = await request.app[PASSWORDS].verify(old_hash, password)
    if account is None or not check.is_correct or account.is_disabled:
        request.app[METRICS].auth_failures.labels("bad_credentials").inc()
        note(request, "login.failed", None if account is None else account.user_id)
        raise ApiError(problems.BAD_CREDENTIALS)
    if check.better_hash is not None and old_hash is not None:
        await accounts.replace_password_hash(account.user_id, old_hash, check.better_hash)
    token = new_refresh_token()
    store = request.app[SERVICES].refresh_tokens
    await store.open_family(account.user_id, hash_of(token), _refresh_expiry(request.app[SERVICES].config))
    return _tokens_reply(request, account, token)


async def refresh(request: web.Request) -> web.Response:
    """Exchange a refresh token for new tokens. It can be used once.

    If the answer is lost, send it again within ten seconds. A later use shows that the token was stolen, so it ends
    every session that came from the same login.
    """
    wanted = await REFRESH.read(request)
    token = new_refresh_token()
    services = request.app[SERVICES]
    used = hash_of(wanted.refresh_token.strip())
    rotated = await services.refresh_tokens.rotate(used, hash_of(token), _refresh_expiry(services.config))
    if isinstance(rotated, RefusedRefresh):
        request.app[METRICS].auth_failures.labels(f"refresh_{rotated.value}").inc()
        known = rotated is not RefusedRefresh.UNKNOWN
        note(request, f"refresh.{rotated.value}", await services.refresh_tokens.owner_of(used) if known else None)
        raise ApiError(problems.BAD_REFRESH_TOKEN)
    return _tokens_reply(request, rotated, token)


async def logout(request: web.Request) -> web.Response:
    """Give up a refresh token and all others from the same login. An unknown token gets the same answer."""
    wanted = await REFRESH.read(request)
    await request.app[SERVICES].refresh_tokens.revoke_family(hash_of(wanted.refresh_token.strip()))
    return empty_reply()


async def show_me(request: web.Request) -> web.Response:
    """The user whom the access token speaks for."""
    account = await request.app[SERVICES].accounts.by_id(request[PRINCIPAL].user_id)
    if account is None or account.is_disabled:
        raise InvalidTokenError("disabled")
    return json_reply(MeReply.of(account))


async def _limit_logins(request: web.Request, email: str) -> None:
    services = request.app[SERVICES]
    rate_per_s, burst = services.config.logins_per_minute / 60, services.config.logins_burst
    digest = hashlib.sha256(email.encode()).hexdigest()[:32]  # no personal data in keys
    for key, factor in ((f"login:{request.remote}:{digest}", 1), (f"login:{digest}", SAME_EMAIL_FACTOR)):
        retry_after_s = await services.rate_limiter.hit(key, rate_per_s * factor, burst * factor)
        if retry_after_s is not None:
            note(request, "login.limited")
            raise rate_limited(request, "logins", retry_after_s)


def _refresh_expiry(config: ApiConfig) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=config.refresh_token_ttl_s)


def _tokens_reply(request: web.Request, account: Account, refresh_token: str) -> web.Response:
    tokens = request.app[ACCESS_TOKENS]
    return json_reply(TokenReply(tokens.issue(account), refresh_token, "Bearer", tokens.ttl_s))


ROUTES = (
    Route(
        "POST",
        "/api/auth/login",
        login,
        "Sessions",
        Access.PUBLIC,
        {200: Answer("Tokens.", TokenReply)},
        problems=(problems.BAD_CREDENTIALS, problems.RATE_LIMITED),
        body=LOGIN,
    ),
    Route(
        "POST",
        "/api/auth/refresh",
        refresh,
        "Sessions",
        Access.PUBLIC,
        {200: Answer("New tokens.", TokenReply)},
        problems=(problems.BAD_REFRESH_TOKEN,),
        body=REFRESH,
    ),
    Route(
        "POST",
        "/api/auth/logout",
        logout,
        "Sessions",
        Access.PUBLIC,
        {204: Answer("Logged out.", media_type="")},
        body=REFRESH,
    ),
    Route("GET", "/api/auth/me", show_me, "Sessions", Access.USER, {200: Answer("The user.", MeReply)}),
)
