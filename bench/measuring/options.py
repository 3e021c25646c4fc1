"""Options that the commands share."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from bench.contestants.contestant import SEATLINE
from bench.peers.registry import PEERS

CONNECTIONS_MAX = 1024
"""Requests under way at once, at most: so many requests in a row are of different students."""

Peers = Annotated[
    str,
    typer.Option(help=f"Peers to compare with, by commas: {', '.join(PEERS)}; `all`; or `none`."),
]
Seconds = Annotated[float, typer.Option(min=0.5, help="How long to measure, each time.")]
Rounds = Annotated[int, typer.Option(min=1, help="Rounds of each; at least 3 for useful medians.")]
Connections = Annotated[int, typer.Option(min=1, max=CONNECTIONS_MAX, help="Requests under way at once.")]
ConnectionsOrBest = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=CONNECTIONS_MAX,
        help="Requests under way at once, for all; by default as many as each is fastest with, found by a probe.",
    ),
]
Sections = Annotated[int, typer.Option(min=8, max=20_000, help="Sections that take part.")]
Seed = Annotated[int, typer.Option(help="Seed of all random choices.")]
ResultAsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


def _nobody(peers: str) -> str:
    if peers != "none":
        raise typer.BadParameter("Seatline is compared with itself here: only `none` can be given")
    return peers


NoPeers = Annotated[str, typer.Option("--peers", callback=_nobody, help="Only `none`: this command has no peers.")]


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a run.

    Args:
        seconds: length of one measurement.
        rounds: of each.
        connections: requests under way at once.
        sections: that take part.
        warmup_s: before each measurement; not counted.
        rate_max: requests a second to prepare for.
        seed: of all random choices.
        at_its_best: whether each contestant gets the number of requests under way with which it is fastest, instead of
            ``connections``.
    """

    seconds: float = 5.0
    rounds: int = 3
    connections: int = 256
    sections: int = 1_000
    warmup_s: float = 1.0
    rate_max: int = 12_000
    seed: int = 1
    at_its_best: bool = False

    @property
    def per_round(self) -> int:
        """The number of requests to prepare for one round."""
        return int(self.rate_max * (self.seconds + self.warmup_s))

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)


def contestants(peers: str) -> list[str]:
    """The names that ``--peers`` means, Seatline first."""
    if peers == "all":
        return [SEATLINE, *PEERS]
    names = [] if peers == "none" else [one.strip() for one in peers.split(",") if one.strip()]
    unknown = [one for one in names if one not in PEERS]
    if unknown:
        raise typer.BadParameter(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return [SEATLINE, *names]
