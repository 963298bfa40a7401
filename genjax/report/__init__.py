"""Reports: rows and pictures as PNG and HTML."""
