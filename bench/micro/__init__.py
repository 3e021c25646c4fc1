"""Microbenchmarks, run by pytest-benchmark and kept apart from the tests: ``seatline bench micro``."""
