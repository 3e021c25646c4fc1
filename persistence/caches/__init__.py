"""What is kept in memory and Redis so that reads need not ask Postgres, and how a commit keeps it true."""
