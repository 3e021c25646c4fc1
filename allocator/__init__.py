"""The domain: sections, seats, waitlists, rules, and the drain loop that decides. Pure but for actor.py."""
