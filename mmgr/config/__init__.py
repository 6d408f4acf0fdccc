"""Configuration: ConfigObj files in, frozen dataclasses out; checks, and the writer behind ``--show-config``."""
