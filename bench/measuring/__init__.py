"""Rounds of load on several contestants in turn, and the limits of the hardware to compare them with."""
