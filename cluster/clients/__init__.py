"""Clients of a running Seatline: a bare HTTP client, a file's registrations sent over it, latencies."""
