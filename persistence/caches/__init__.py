"""Reads that do not ask Postgres, from Redis and from memory, and how commits keep them up to date."""
