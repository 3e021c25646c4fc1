"""Whether what clients saw of a section could have come from one section that does one thing at a time."""
