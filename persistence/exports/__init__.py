"""Exports of data as files."""
