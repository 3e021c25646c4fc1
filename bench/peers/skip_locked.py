"""The stored function with a row for every free seat, taken with SKIP LOCKED.

No transaction waits for the row of a section: each takes another seat. The price is a row for each seat, and counts
that are not kept: ``section_seats.enrolled`` and ``seq`` do not change, and the seq of an event in the history is the
number of its seat, not its place in time.
"""

from __future__ import annotations

from bench.peers.stored_function import calling
from bench.peers.web_server import run

if __name__ == "__main__":
    run(calling("bench_enroll_skipping"))
