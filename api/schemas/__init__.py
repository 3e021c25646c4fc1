"""Types of requests and replies. What validates here is also what OpenAPI shows."""
