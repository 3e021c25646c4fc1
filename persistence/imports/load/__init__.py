"""The loader: from a bundle of rows to the tables, in bulk and in one transaction."""
