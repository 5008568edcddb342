"""Configuration: paths, files, defaults, and where each value came from."""
