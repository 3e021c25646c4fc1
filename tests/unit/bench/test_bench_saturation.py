"""Saturation: the number of requests under way for each contestant, and the length of its rounds."""

from __future__ import annotations

import pytest

from bench.measuring.options import Options
from bench.measuring.saturation import LADDER, Pace, find_pace


class Server:
    """Answers at a rate that follows from how many requests are under way."""

    def __init__(self, rates: dict[int, float]) -> None:
        self._rates = rates
        self.probed: dict[int, float] = {}

    async def probe(self, connections: int, warmup_s: float, seconds: float) -> float:
        """See ``bench.measuring.saturation.Probe``."""
        assert warmup_s < seconds
        self.probed[connections] = seconds
        return self._rates[connections]


@pytest.mark.parametrize(
    ("rates", "best"),
    [
        ((700.0, 2_600.0, 6_100.0, 7_600.0), 1_024),
        ((1_500.0, 1_670.0, 1_920.0, 1_700.0), 256),
        ((1_500.0, 1_670.0, 1_920.0, 1_830.0), 1_024),  # within the noise of the best
        ((530.0, 544.0, 582.0, 280.0), 256),
        ((40.0, 32.0, 1.2, 0.0), 16),
        ((0.0, 0.0, 10.0, 5.0), 256),
    ],
)
async def test_it_is_the_number_with_the_most_answers(rates: tuple[float, ...], best: int) -> None:
    server = Server(dict(zip(LADDER, rates, strict=True)))
    pace = await find_pace(server.probe)
    assert pace.connections == best
    assert pace.answer_s == pytest.approx(best / rates[LADDER.index(best)])


async def test_who_is_past_its_best_is_not_given_still_more() -> None:
    server = Server({16: 400.0, 64: 360.0, 256: 12.0})
    pace = await find_pace(server.probe)
    assert pace.tried == {16: 400.0, 64: 360.0, 256: 12.0}


async def test_who_answers_slowly_is_probed_longer_but_not_for_ever() -> None:
    quick, slow = Server(dict.fromkeys(LADDER, 10_000.0)), Server(dict.fromkeys(LADDER, 100.0))
    await find_pace(quick.probe)
    await find_pace(slow.probe)
    assert list(quick.probed.values()) == [1.0] * len(LADDER)
    assert slow.probed[64] == pytest.approx(2 * 64 / 100)
    assert list(slow.probed) == [16, 64]  # with 256, 2.56 s for one answer


async def test_nobody_who_never_answers_is_asked_for_ever() -> None:
    assert (await find_pace(Server(dict.fromkeys(LADDER, 0.0)).probe)).answer_s == 0.0


def test_a_round_is_long_enough_for_several_answers_on_each_connection() -> None:
    options = Options(seconds=2.5, warmup_s=0.5)
    quick, slow = (Pace(256, answer_s, {}).of(options) for answer_s in (0.03, 1.5))
    assert (quick.seconds, quick.warmup_s, quick.connections) == (2.5, 0.5, 256)
    assert (slow.seconds, slow.warmup_s) == (4.5, 1.5)
