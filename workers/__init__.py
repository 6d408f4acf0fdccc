"""What runs after the fork: one milter session at a time, in plain blocking code with deadlines."""
