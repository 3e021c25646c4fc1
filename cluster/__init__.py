"""How Seatline runs: settings, the command line, embedded services, directory, gateway, node life cycle."""
