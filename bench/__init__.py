"""Workloads and the load generator. May import anything; nothing imports it."""
