"""What a process says of itself: metrics, readiness, request log."""
