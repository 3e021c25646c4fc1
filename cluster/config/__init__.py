"""What is configured: settings, secrets, logs, and where a running Seatline can be found."""
