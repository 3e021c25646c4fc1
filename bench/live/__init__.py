"""Load on a Seatline that somebody else started (``--url``), in a semester of its own there."""
