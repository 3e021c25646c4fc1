"""The outbox: relaying its messages, the facts for the mails, and which mails were sent."""
