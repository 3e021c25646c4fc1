"""What is measured: Seatline and its peers as processes with a database each, on Postgres and Valkey of their own."""
