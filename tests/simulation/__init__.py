"""A whole Seatline in one thread and in simulated time: every run follows from its seed.

The allocator, the drain loop, the actor's shell, the lease, the gateway and the directory are the real ones. Postgres
is the in-memory store behind a connection that can be slow, cut or killed; Redis is a dict that runs the real scripts;
processes can be paused and killed; messages can be late, lost and doubled.
"""
