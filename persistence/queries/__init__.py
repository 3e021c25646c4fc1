"""Reads and small writes of the cold paths, one class per port of the API, with SQLAlchemy Core."""
