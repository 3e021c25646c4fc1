"""The conventional design: FastAPI, SQLAlchemy's ORM, a Redis lock for the section, and SELECT ... FOR UPDATE.

Run by uvicorn with 2 workers. A waiting request polls the lock every few milliseconds (with redis-py's default of
100 ms a hot section would be idle most of the time). Rows are locked in Postgres as well, because a lock that can
expire is no fence. Rules are the allocator's own, on rows read for each request.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import FastAPI, Header, Response
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from redis.exceptions import LockError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from allocator.model.commands import Enroll, request_of
from allocator.model.delivery import OVERLOADED, Reply
from allocator.model.outcomes import Code, Outcome
from api.http import problems
from api.signin.tokens import InvalidTokenError
from bench.peers import orm
from bench.peers.answers import answer_of, problem
from bench.peers.decide import decide
from bench.peers.environment import PeerEnvironment
from cluster.config.settings import sqlalchemy_url
from persistence.store.changes import messages
from persistence.store.history import event_to_row
from persistence.store.stored_outcomes import decode_outcome, encode_outcome

POOL_SIZE = 10
LOCK_POLL_S = 0.005
LOCK_TIMEOUT_S = 5.0
LOCK_WAIT_S = 5.0

environment = PeerEnvironment.read()
tokens = environment.tokens()
engine = create_async_engine(
    sqlalchemy_url(environment.database_url),
    pool_size=POOL_SIZE,
    max_overflow=POOL_SIZE,
    connect_args={"server_settings": {"synchronous_commit": "on", "jit": "off", "timezone": "UTC"}},
)
sessions = async_sessionmaker(engine, expire_on_commit=False)
redis = Redis.from_url(environment.redis_url)


class EnrollIn(BaseModel):
    """The body of a request."""

    section_id: int = Field(ge=1)
    join_waitlist: bool = True


@contextlib.asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Close connections at the end."""
    yield
    await engine.dispose()
    await redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    """Answer that the server is up."""
    return {"status": "ok"}


@app.post("/api/enrollments")
async def enroll(
    body: EnrollIn,
    authorization: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Take a seat in a section, or a place on its waitlist."""
    try:
        student_id = tokens.principal(authorization).student_id
    except InvalidTokenError:
        return _response(problem(problems.UNAUTHENTICATED))
    if student_id is None:
        return _response(problem(problems.FORBIDDEN))
    key = idempotency_key or secrets.token_hex(16)
    command = Enroll(body.section_id, student_id, body.join_waitlist)
    lock = redis.lock(
        f"lock:section:{body.section_id}", timeout=LOCK_TIMEOUT_S, blocking_timeout=LOCK_WAIT_S, sleep=LOCK_POLL_S
    )
    try:
        async with lock, sessions.begin() as session:
            reply = await enroll_in(session, command, key, keep_answer=idempotency_key is not None)
    except LockError:
        reply = OVERLOADED
    return _response(answer_of(reply))


async def enroll_in(session: AsyncSession, command: Enroll, key: str, *, keep_answer: bool) -> Reply:
    """Check and write in the session's transaction."""
    section = await session.get(orm.OrmSection, command.section_id)
    if section is None:
        return Reply(Outcome(Code.NOT_FOUND, command.section_id))
    record = await session.get(orm.OrmRecord, (command.student_id, section.semester_id), with_for_update=True)
    stored = await session.get(orm.OrmStoredAnswer, (command.student_id, key)) if keep_answer else None
    if stored is not None:
        if stored.request != request_of(command):
            return Reply(Outcome(Code.KEY_REUSED, command.section_id))
        return Reply(decode_outcome(stored.outcome), replayed=True)
    seats = await session.get(orm.OrmSeats, command.section_id, with_for_update=True)
    assert seats is not None  # noqa: S101  (every section has its row)
    held = {section.id: section}
    if record is not None and record.enrolled:
        rows = await session.scalars(sa.select(orm.OrmSection).where(orm.OrmSection.id.in_(record.enrolled)))
        held.update((one.id, one) for one in rows)
    facts = await orm.facts_of(session, held.values())
    enrollment_id = await session.scalar(sa.select(sa.func.nextval("enrollment_id_seq")))
    known = None if record is None else orm.record_of(record)
    decided = decide(command, seats, facts[section.id], known, facts.__getitem__, int(enrollment_id or 0))
    if decided.event is not None:
        assert record is not None  # noqa: S101  (without a record the request is refused)
        _write(session, record, seats, decided.record, decided.event)
    if decided.event is not None or keep_answer:
        outcome = encode_outcome(decided.outcome)
        session.add(
            orm.OrmStoredAnswer(student_id=command.student_id, key=key, request=request_of(command), outcome=outcome)
        )
    return Reply(decided.outcome)


def _write(session: AsyncSession, record: orm.OrmRecord, seats: orm.OrmSeats, after: Any, event: Any) -> None:
    record.version, record.credits = after.version, after.credits
    record.enrolled, record.waitlisted = after.enrolled, after.waitlisted
    seats.seq += 1
    if "place" in event._fields:
        seats.waitlisted += 1
        seats.last_place += 1
    else:
        seats.enrolled += 1
    session.add(orm.enrollment_of(event))
    session.add(orm.OrmHistoryRow(**event_to_row(event, seats.epoch)._asdict()))
    session.add_all(
        orm.OrmOutboxMessage(event_id=one.event_id, topic=one.topic, payload=one.payload) for one in messages([event])
    )


def _response(answer: Any) -> Response:
    return Response(answer.body, answer.status, media_type=answer.content_type)
