"""The database: its tables, how it gets there (migrations), and what the serving role may do."""
