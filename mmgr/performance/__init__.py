"""Load on an MTA and what came of it. ``mmgr.cli.performance_check`` and ``performance_analyzer`` are its commands."""
