"""What a running instance looks like from outside: metrics. Asks the master, never sees mail."""
