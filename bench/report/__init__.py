"""Results: kept as JSON, shown as tables in the terminal and as one HTML page with SVG plots."""
