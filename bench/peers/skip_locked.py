"""The stored function with a row for every free seat, taken with SKIP LOCKED.

Nobody waits for a section's row any more: each transaction takes another seat. The price is a row for each seat, and a
count of the enrolled that is not kept: ``section_seats.enrolled`` and ``seq`` stay as they were, and the seq of an
event in the history is the number of its seat, so it is not the order in which things happened.
"""

from __future__ import annotations

from bench.peers.stored_function import calling
from bench.peers.web_server import run

if __name__ == "__main__":
    run(calling("bench_enroll_skipping"))
