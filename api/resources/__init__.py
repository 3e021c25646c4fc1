"""The resources of the API, one module for each: its handlers and its routes."""
