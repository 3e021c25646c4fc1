"""Microbenchmarks, run with pytest-benchmark by ``seatline bench micro``; they are no tests."""
