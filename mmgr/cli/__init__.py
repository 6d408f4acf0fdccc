"""The commands: the only rooms that parse arguments, print and exit."""
