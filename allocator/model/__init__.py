"""The domain on a few screens: sections, waitlists, records, and the commands, events and outcomes between them."""
