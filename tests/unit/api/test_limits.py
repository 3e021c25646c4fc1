"""The rate limit in memory, and the queue before password hashing."""

from __future__ import annotations

import asyncio
import threading
from random import Random
from typing import Any

import bcrypt
import pytest
from argon2.exceptions import VerifyMismatchError

from api.limits import LocalLimiter, network_of
from api.signin.fair_queue import FairQueue, QueueFullError
from api.signin.login_limits import KnownSenders, LoginLimits
from api.signin.passwords import Passwords, PasswordsBusyError, SlowestBcrypt
from persistence.redis.rate_limit import LocalRateLimiter
from tests.unit.api.conftest import QUICK_HASHER


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "burst"), [(20.0, 40), (3.0, 7), (0.1, 1)])
def test_a_burst_then_the_rate(rate: float, burst: int) -> None:
    clock = Clock()
    limiter = LocalLimiter(rate, burst, now=clock)

    assert [limiter.hit(1) for _ in range(burst)] == [None] * burst
    wait_s = limiter.hit(1)
    assert wait_s == pytest.approx(1 / rate)

    clock.now += wait_s or 0.0
    assert limiter.hit(1) is None
    assert limiter.hit(1) is not None


def test_refused_calls_do_not_count() -> None:
    clock = Clock()
    limiter = LocalLimiter(1.0, 1, now=clock)
    limiter.hit(1)
    for _ in range(100):
        limiter.hit(1)

    clock.now += 1.0

    assert limiter.hit(1) is None, "one who keeps trying must not be locked out for ever"


def test_keys_are_apart() -> None:
    limiter = LocalLimiter(1.0, 1)

    assert limiter.hit(1) is None
    assert limiter.hit(2) is None


def test_memory_is_bounded_and_those_at_rest_go_first() -> None:
    clock = Clock()
    limiter = LocalLimiter(1.0, 1, keys_max=10, now=clock)
    for key in range(10):
        limiter.hit(key)
    clock.now += 1.0
    limiter.hit(3)

    limiter.hit(99)

    assert limiter.hit(3) is not None, "a key in use is remembered"
    for key in range(1000):
        limiter.hit(key)
    assert len(limiter._due_at) <= 10


class SlowHasher:
    """Checks nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def hash(self, _password: str) -> str:
        return "$slow$"

    def verify(self, _hash: str, _password: str) -> bool:
        return self.go.wait(5)

    def check_needs_rehash(self, _hash: str) -> bool:
        return False


async def test_too_many_passwords_at_once_are_turned_away() -> None:
    hasher: Any = SlowHasher()
    passwords = Passwords(hasher=hasher, workers=1, queue_max=1)
    waiting = [asyncio.create_task(passwords.verify("h", "p")) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(PasswordsBusyError):
        await passwords.verify("h", "p")

    hasher.go.set()
    assert all(verdict.is_correct for verdict in await asyncio.gather(*waiting))
    assert (await passwords.verify("h", "p")).is_correct, "and let in again afterwards"
    passwords.close()


@pytest.mark.parametrize("stored", [None, "", "nonsense", "$2b$04$short", "$argon2id$v=19$broken"])
async def test_a_hash_that_is_none_is_wrong_but_no_error(stored: str | None) -> None:
    passwords = Passwords(hasher=QUICK_HASHER)

    assert await passwords.verify(stored, "anything") == (False, None)


async def test_a_weak_argon2_hash_is_replaced() -> None:
    passwords = Passwords(hasher=QUICK_HASHER)
    stronger = type(QUICK_HASHER)(time_cost=2, memory_cost=8, parallelism=1).hash("p")

    verdict = await passwords.verify(stronger, "p")

    assert verdict.is_correct
    assert verdict.better_hash is not None
    assert "t=1" in verdict.better_hash


class CountingHasher:
    """Counts what it checks; every password is wrong."""

    def __init__(self) -> None:
        self.checked = 0

    def hash(self, _password: str) -> str:
        return "$dummy$"

    def verify(self, _hash: str, _password: str) -> bool:
        self.checked += 1
        raise VerifyMismatchError


async def test_an_unknown_user_costs_what_a_known_one_does() -> None:
    hasher: Any = CountingHasher()
    passwords = Passwords(hasher=hasher)

    await passwords.verify("$known$", "wrong")
    await passwords.verify(None, "wrong")

    assert hasher.checked == 2


KINDS = {
    "nobody": None,
    "argon2": QUICK_HASHER.hash("right"),
    "bcrypt 4": bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode(),
    "bcrypt 6": bcrypt.hashpw(b"right", bcrypt.gensalt(6)).decode(),
    "bcrypt 7": bcrypt.hashpw(b"right", bcrypt.gensalt(7)).decode(),
    "mangled": "$2b$04$short",
    "unknown": "nonsense",
}


@pytest.mark.parametrize("slowest", [None, 7])
async def test_a_wrong_password_is_the_work_of_the_slowest_kind(
    monkeypatch: pytest.MonkeyPatch, slowest: int | None
) -> None:
    work: list[int] = []
    checked, check = CountingHasher(), bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        is_correct = check(password, hashed)
        work.append(2 ** int(hashed[4:6]))
        return is_correct

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    hasher: Any = checked
    passwords = Passwords(hasher=hasher)
    done = {}
    for kind, stored in KINDS.items():
        work.clear()
        checked.checked = 0
        assert await passwords.verify(stored, "wrong", slowest=slowest) == (False, None)
        done[kind] = (checked.checked, sum(work))

    if slowest is None:
        assert done["nobody"] == done["argon2"] == (1, 0)
    else:
        assert set(done.values()) == {(1, 2**slowest)}
    passwords.close()


async def test_a_right_password_is_the_work_of_its_own_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = Passwords(hasher=QUICK_HASHER)
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: pytest.fail("no bcrypt for an argon2 hash"))

    assert (await passwords.verify(KINDS["argon2"], "right", slowest=7)).is_correct
    passwords.close()


async def test_the_slowest_kind_is_read_again_after_some_minutes() -> None:
    clock, stored, reads = Clock(), [None, 12, 10], []

    async def read() -> int | None:
        reads.append(clock.now)
        return stored[len(reads) - 1]

    slowest = SlowestBcrypt(read, now=clock)

    assert await asyncio.gather(*(slowest.cost() for _ in range(5))) == [None] * 5
    assert len(reads) == 1
    clock.now += 300.0
    assert await slowest.cost() == 12
    clock.now += 299.0
    assert await slowest.cost() == 12
    clock.now += 1.0
    assert await slowest.cost() == 10


# The queue before the workers


class Queue:
    """A fair queue with one worker, which is busy until it is told to go on."""

    def __init__(self, waiting_max: int, kept: int = 0) -> None:
        self.queue = FairQueue(1, waiting_max, kept)
        self.served: list[str] = []
        self.refused: list[str] = []
        self.go = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, name: str, *, is_known: bool = False) -> asyncio.Task[None]:
        """Somebody comes, whose sender is the first letter of the name."""

        async def wait() -> None:
            try:
                async with self.queue.turn(name[0], is_known=is_known):
                    await self.go.wait()
                    self.served.append(name)
            except QueueFullError:
                self.refused.append(name)

        task = asyncio.create_task(wait())
        self.tasks.append(task)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task

    async def finish(self) -> list[str]:
        self.go.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        return self.served


async def test_senders_take_turns() -> None:
    queue = Queue(10)
    for name in ("a1", "a2", "a3", "a4", "b1", "c1", "b2"):
        await queue.come(name)

    assert await queue.finish() == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_known_senders_go_first() -> None:
    queue = Queue(10)
    for name in ("a1", "a2", "a3"):
        await queue.come(name)
    await queue.come("k1", is_known=True)

    assert await queue.finish() == ["a1", "k1", "a2", "a3"]


async def test_a_newcomer_takes_the_place_of_the_last_of_the_most() -> None:
    queue = Queue(4)
    for name in ("a0", "a1", "a2", "a3", "a4", "a5", "b1", "b2", "b3"):
        await queue.come(name)

    assert queue.refused == ["a5", "a4", "a3", "b3"]
    assert await queue.finish() == ["a0", "a1", "b1", "a2", "b2"]


async def test_strangers_leave_room_for_known_senders_however_many_they_are() -> None:
    queue = Queue(4, kept=2)
    for name in "abcdefgh":
        await queue.come(name)
    for name in ("k1", "l1", "m1"):
        await queue.come(name, is_known=True)

    assert queue.refused == ["d", "e", "f", "g", "h", "c"]
    assert (await queue.finish())[:4] == ["a", "k1", "l1", "m1"]


async def test_who_leaves_the_queue_takes_no_turn() -> None:
    queue = Queue(10)
    _, second, _ = [await queue.come(name) for name in ("a1", "a2", "b1")]
    second.cancel()
    await asyncio.sleep(0)

    assert await queue.finish() == ["a1", "b1"]
    for name in ("a3", "a4"):
        await queue.come(name)
    assert queue.served == ["a1", "b1", "a3", "a4"], "and the worker is free again"


@pytest.mark.parametrize("seed", range(20))
async def test_no_turn_is_lost_or_taken_twice(seed: int) -> None:
    random, at_work, most = Random(seed), 0, 0
    queue = FairQueue(2, 6, 2)

    async def one() -> None:
        nonlocal at_work, most
        try:
            async with queue.turn(random.randrange(4), is_known=random.random() < 0.3):
                at_work += 1
                most = max(most, at_work)
                try:
                    await asyncio.sleep(random.random() / 1000)
                finally:
                    at_work -= 1
        except QueueFullError:
            pass

    tasks = [asyncio.create_task(one()) for _ in range(60)]
    for task in random.sample(tasks, 20):
        await asyncio.sleep(random.random() / 2000)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    assert most == 2
    assert (queue._idle, queue._known, queue._strangers) == (2, {}, {})


# Who is known


def test_known_senders_are_bounded_and_nobody_can_have_many_forgotten() -> None:
    known = KnownSenders(accounts_max=3, networks_each=2)
    known.add("campus", "ada")
    known.add("home", "bob")
    for number in range(100):
        known.add(f"net {number}", "mallory")

    assert known.has("campus", "ada")
    assert known.has_network("home")
    assert known.has("net 99", "mallory")
    assert not known.has("net 97", "mallory")
    assert not known.has_network("net 97")
    assert not known.has("campus", "bob")

    known.add("campus", "cem")
    assert not known.has("campus", "ada"), "the account that was here longest ago is forgotten"
    assert known.has_network("campus")
    assert (len(known._networks), sum(known._accounts_of.values())) == (3, 4)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "None"),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_client_is_its_64(address: str | None, network: str) -> None:
    assert network_of(address) == network


class Limiter:
    """Limits that are counted for real, in memory."""

    def __init__(self) -> None:
        self._limiter = LocalRateLimiter(Clock())

    async def hit(self, key: str, rate_per_s: float, burst: int) -> float | None:
        return self._limiter.hit(key, rate_per_s, burst)

    async def peek(self, key: str, rate_per_s: float, burst: int) -> float | None:
        return self._limiter.peek(key, rate_per_s, burst)


async def guess(limits: LoginLimits, network: str, account: str) -> bool:
    """Whether a guess is let through to the password; it is wrong."""
    if await limits.count(network, account) is not None:
        return False
    await limits.failed(network)
    return True


async def test_one_address_has_sixty_failures_however_many_accounts_it_tries() -> None:
    limits = LoginLimits(Limiter(), 1 / 6, 10)

    assert sum([await guess(limits, "203.0.113.9", f"account {number}") for number in range(400)]) == 60
    assert await limits.count("198.51.100.7", "ada") is None, "an honest user elsewhere"


async def test_many_people_behind_one_address_get_in() -> None:
    limits = LoginLimits(Limiter(), 1 / 6, 10)
    for number in range(600):
        assert await limits.count("campus", f"account {number}") is None
        limits.known.add("campus", f"account {number}")

    assert await limits.count("campus", "account 601") is not None, "a burst of 600 is more than people type"
    assert await limits.count("campus", "account 7") is None, "who was here before has a limit apart"


async def test_guesses_from_elsewhere_lock_nobody_out_where_people_log_in() -> None:
    limits = LoginLimits(Limiter(), 1 / 6, 10)
    limits.known.add("home", "ada")
    limits.known.add("campus", "bob")
    guesses = [await guess(limits, f"198.51.100.{net}", "ada") for net in range(20) for _ in range(10)]

    assert sum(guesses) == 100
    assert await limits.count("home", "ada") is None, "from where she was before"
    assert await limits.count("campus", "ada") is None, "from where others were before"
    assert await limits.count("192.0.2.1", "ada") is not None, "from a new address, as the guesses"
