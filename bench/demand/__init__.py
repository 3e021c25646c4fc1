"""What students ask for: the semester, and the requests of each workload, made before the load begins."""
