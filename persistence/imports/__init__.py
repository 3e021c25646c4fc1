"""Catalogues and students from files, and a campus of our own making. All go through load/loader.py: all are idempotent."""
