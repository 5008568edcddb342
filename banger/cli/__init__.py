"""The command line: parses, calls the daemon, draws progress. Loads no plugin, imports nothing heavy."""
