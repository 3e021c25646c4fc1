"""Who is asking: logins, passwords, tokens."""
