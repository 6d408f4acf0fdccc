"""The log analyzer: log lines in, RRD databases, graphs and a page out. ``mmgr.cli.log_analyzer`` is its command."""
