"""Real faults on a whole Seatline under load, each followed by all checks."""
