"""A configuration of milter manager 2, which is a Ruby program, turned into one of ours. PURE but for ``gathering``.

``milter-manager-import`` is the only caller. From the bottom: ``lexing`` cuts Ruby into words, ``nesting`` into
statements, ``shapes`` says what a statement looks like, ``regexps`` and ``stoppers`` translate what has an equal here,
``translation`` keeps what a file says in a ``draft``, and ``rendering`` writes the draft as text.
"""
