"""How Seatline runs: settings, the command line, embedded services, directory, gateway, node life cycle."""

from cluster import previous_version

previous_version.install()  # Ray unpickles arguments of older actors by importing `cluster` and nothing else
