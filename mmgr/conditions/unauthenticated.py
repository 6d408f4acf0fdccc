"""Unauthenticated: the milter sees the mail of strangers; who logged in is spared it. PURE."""

from __future__ import annotations

from mmgr.conditions.authenticated import LOGIN_MACROS
from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import words


class Unauthenticated(Condition):
    """Lets a milter take part in messages of a client that did not log in."""

    name = "Unauthenticated"
    description = "the client did not log in (SMTP AUTH)"
    stages = frozenset((Stage.MAIL,))
    reads = {Stage.MAIL: LOGIN_MACROS}

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the message if the MTA names a login."""
        if not facts.is_authenticated:
            return ""
        login = facts.macro(b"{auth_authen}")
        return f"the client logged in as {words(login)}" if login else "the client logged in"
