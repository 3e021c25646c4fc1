"""Everything that outlives a process: tables, the batch store, caches, leases, the outbox, importers."""
