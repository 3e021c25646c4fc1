"""The HTTP front end: one module per resource, schemas, authentication, errors, and its composition root."""
