"""Clients of a running Seatline: a bare HTTP client, a sender of registrations, summaries of latencies."""
