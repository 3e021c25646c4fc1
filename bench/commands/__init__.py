"""The subcommands of ``seatline bench``, one module each."""
