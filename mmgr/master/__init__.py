"""The master process: binds sockets, forks workers and keeps them alive. It never reads mail."""
