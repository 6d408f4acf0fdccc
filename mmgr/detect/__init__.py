"""Finds the milters that are installed: a function of a root directory, read as files alone, no program is run."""
