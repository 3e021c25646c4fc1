"""The outbox and what leaves by it: relaying, what a mail says, what was sent."""
