"""File formats, one module each: a reader of files into rows."""
