"""A believable campus, drawn from measured distributions."""
