"""How long Postfix waits for its milters, by the main.cf of the tree in which we look for milters.

``loader`` calls it; what has to be shorter, ``checks`` says.
"""

from __future__ import annotations

from mmgr.config.checks import DEFAULT_PATIENCE, Limit, Patience
from mmgr.config.text import one_line
from mmgr.detect.tree import Tree, Unreadable
from mmgr.doctor.maincf import parse_main

MAIN_CF = "/etc/postfix/main.cf"


def postfix_patience(root: str) -> Patience:
    """What main.cf says, with its line, where it can be read and is set there; else Postfix's defaults."""
    try:
        main = parse_main(line.text for line in Tree(root).lines(MAIN_CF))
    except Unreadable:
        return DEFAULT_PATIENCE
    found = dict(DEFAULT_PATIENCE)
    for key in found:
        limit_s = main.seconds(key)
        if main.is_set(key) and limit_s is not None:
            found[key] = Limit(limit_s, one_line(f"{MAIN_CF}:{main.where(key)}"))
    return found
