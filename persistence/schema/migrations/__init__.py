"""Alembic's folder: one file in versions/ for every change of the schema. Run by persistence/schema/migrate.py."""
