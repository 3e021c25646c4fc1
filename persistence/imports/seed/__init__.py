"""The seeded campus: drawn at random from distributions that were measured at real universities."""
