"""Requests and replies of sessions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from allocator.model.read_models import Account, Role

Email = Annotated[str, Meta(min_length=3, max_length=254, pattern=r"^\s*[^@\x00-\x20]+@[^@\x00-\x20]+\s*$")]
"""With spaces around it, as the keyboards of phones add them."""
Password = Annotated[str, Meta(min_length=1, max_length=1024)]
RefreshToken = Annotated[str, Meta(min_length=1, max_length=512)]


class LoginRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """Email and password of a user."""

    email: Email
    password: Password


class RefreshRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """A refresh token, to exchange or to give up."""

    refresh_token: RefreshToken


class TokenReply(Struct, frozen=True):
    """An access token for ``expires_in`` seconds, and the refresh token that gets the next one, once."""

    access_token: str
    refresh_token: str
    token_type: str
    expires_in: int


class MeReply(Struct, frozen=True):
    """The user of the token. ``student_id`` and ``student_number`` are null for staff."""

    user_id: int
    email: str
    name: str
    role: Role
    student_id: int | None
    student_number: str | None

    @classmethod
    def of(cls, account: Account) -> MeReply:
        """An account, without its secrets."""
        return cls(
            user_id=account.user_id,
            email=account.email,
            name=account.name,
            role=account.role,
            student_id=account.student_id,
            student_number=account.student_number,
        )
