"""The batch store: what a turn reads and writes, in Postgres and in memory."""
