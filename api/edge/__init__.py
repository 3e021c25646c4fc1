"""The edge: connections, framing, load shedding and the express lane. Here every request is seen first, as bytes."""
