"""The database: its tables, their migrations, and the rights of the role that serves requests."""
