"""What outlives a process: tables, the batch store, caches, the lease, the outbox, importers."""
