"""The load generators, the sources of their requests, and what they count."""
