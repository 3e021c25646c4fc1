"""What all routes share: routing, bodies, replies, problems, the middleware, the OpenAPI document."""
