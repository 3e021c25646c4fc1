"""Who may have, keep or give up a seat: one module a family of rules, and the table that lists them."""
