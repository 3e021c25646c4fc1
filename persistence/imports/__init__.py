"""Catalogues and students from files, and a campus of our own making. All are idempotent: all go through load/."""
