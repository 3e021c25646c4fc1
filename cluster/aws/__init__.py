"""Seatline on AWS."""
