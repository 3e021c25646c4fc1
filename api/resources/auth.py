"""Sessions: login, refresh, logout, and who is logged in."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta

from aiohttp import web

from allocator.model.read_models import Account, RefusedRefresh
from allocator.model.typed_text import tidy
from api.http import problems
from api.http.audit import note
from api.http.bodies import JsonBody
from api.http.errors import ApiError, rate_limited
from api.http.replies import empty_reply, json_reply
from api.http.routing import Access, Answer, Route
from api.limits import network_of
from api.monitoring.metrics import METRICS
from api.schemas.auth import LoginRequest, MeReply, RefreshRequest, TokenReply
from api.services import SERVICES, ApiConfig
from api.signin.login_limits import LOGIN_LIMITS, account_key
from api.signin.passwords import PASSWORDS, SLOWEST_BCRYPT
from api.signin.principals import PRINCIPAL
from api.signin.refresh_tokens import hash_of, new_refresh_token
from api.signin.tokens import ACCESS_TOKENS, InvalidTokenError

LOGIN = JsonBody(LoginRequest)
REFRESH = JsonBody(RefreshRequest)


async def login(request: web.Request) -> web.Response:
    """Exchange email and password for tokens.

    A wrong email and a wrong password get the same answer, after the same time.
    """
    wanted = await LOGIN.read(request)
    email = tidy(wanted.email).lower()
    password = unicodedata.normalize("NFC", wanted.password)  # as most keyboards send it
    network, key = network_of(request.remote), account_key(email)
    limits = request.app[LOGIN_LIMITS]
    retry_after_s = await limits.count(network, key)
    if retry_after_s is not None:
        note(request, "login.limited")
        raise rate_limited(request, "logins", retry_after_s)
    accounts = request.app[SERVICES].accounts
    slowest = await request.app[SLOWEST_BCRYPT].cost()
    account = await accounts.by_email(email)
    # A disabled account is checked like none: nobody learns whether its password was right.
    old_hash = None if account is None or account.is_disabled else account.password_hash
    check = await request.app[PASSWORDS].verify(
        old_hash, password, sender=network, is_known=limits.known.has_network(network), slowest=slowest
    )
    if account is None or not check.is_correct:
        request.app[METRICS].auth_failures.labels("bad_credentials").inc()
        note(request, "login.failed", None if account is None else account.user_id)
        await limits.failed(network)
        raise ApiError(problems.BAD_CREDENTIALS)
    limits.known.add(network, key)
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
    request.app[LOGIN_LIMITS].known.add(network_of(request.remote), account_key(rotated.email))
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
