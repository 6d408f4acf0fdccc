"""One file per milter: where its settings are, and what they say of its socket."""
