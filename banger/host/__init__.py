"""The seams to the operating system, one library or tool family each; errors are translated here, once."""
