"""AWS, where it is configured; nothing else in Seatline knows it. See docs/configuration.md, "AWS"."""
