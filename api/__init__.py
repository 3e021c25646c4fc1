"""The HTTP API. `app.py` puts it together, `resources/` has one module for each resource, `edge/` has the hot path."""
