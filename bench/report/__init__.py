"""The kept results as one HTML page with SVG plots."""
