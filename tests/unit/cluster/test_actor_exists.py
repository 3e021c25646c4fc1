"""Whether there is an actor of a name: only a plain no of Ray is a no."""

from __future__ import annotations

import time

import pytest
import ray
import ray.exceptions

from cluster.gateway import ray_actors
from cluster.gateway.ray_actors import actor_exists


@pytest.mark.parametrize(
    ("answer", "exists"),
    [
        (object(), True),
        (ValueError("Failed to look up actor"), False),
        (ray.exceptions.RayError("the GCS is away"), True),
        (ConnectionError("gone"), True),
    ],
    ids=str,
)
async def test_only_a_plain_no_is_a_no(monkeypatch: pytest.MonkeyPatch, answer: object, exists: bool) -> None:
    def get_actor(name: str, namespace: str) -> object:
        assert (name, namespace) == ("ghost", "seatline")
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ray, "get_actor", get_actor)

    assert await actor_exists("ghost") is exists


async def test_a_ray_that_does_not_answer_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_actors, "EXISTS_TIMEOUT_S", 0.01)
    monkeypatch.setattr(ray, "get_actor", lambda _name, namespace: time.sleep(0.2))

    assert await actor_exists("ghost")
