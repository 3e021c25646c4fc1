"""From a connection to a request: framing, the express lane, load shedding."""
