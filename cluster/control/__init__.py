"""Keeps a Seatline as it should be on the nodes that there are: see controller.py. Serving never waits for it."""
