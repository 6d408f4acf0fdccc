"""Milter manager: one milter in front of many. This package is all that is not a running session."""

__version__ = "3.0.0"
