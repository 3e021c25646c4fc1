"""Data out of Seatline, as files."""
