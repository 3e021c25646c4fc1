"""Sign-in: passwords, access tokens, refresh tokens, and the principal that a token speaks for."""
