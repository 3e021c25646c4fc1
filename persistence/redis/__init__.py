"""Redis behind a circuit breaker, and what is kept in it beside caches: leases and shared rate limits."""
