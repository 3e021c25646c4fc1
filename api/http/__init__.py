"""What every route shares: routing, bodies, replies, errors, the OpenAPI document."""
