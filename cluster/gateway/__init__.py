"""The way of a command to its actor: directory, gateway, what goes over the wire, and handovers of sections."""
