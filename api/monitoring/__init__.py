"""What a process reports about itself: metrics, readiness, its log of requests."""
