"""Redis as a hint: a circuit breaker around it, leases, shared rate limits."""
