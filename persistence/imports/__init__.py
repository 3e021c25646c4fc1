"""Importers of catalogues and students from files, and the seeded campus. All go through load/ and are idempotent."""
