"""From rows to tables, in bulk and in one transaction."""
