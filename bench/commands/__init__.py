"""The subcommands of ``seatline bench``, one module each: its options, its run, and how its result is printed."""
