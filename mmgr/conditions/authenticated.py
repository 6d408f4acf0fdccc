"""Authenticated: the milter sees the mail of those who logged in, and no other. PURE."""

from __future__ import annotations

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts

LOGIN_MACROS = (b"{auth_type}", b"{auth_authen}")
"""What an MTA says of a login, at MAIL. Both Postfix and Sendmail send them by default."""


class Authenticated(Condition):
    """Lets a milter take part in messages of a client that logged in (SMTP AUTH)."""

    name = "Authenticated"
    description = "the client logged in (SMTP AUTH)"
    stages = frozenset((Stage.MAIL,))
    reads = {Stage.MAIL: LOGIN_MACROS}

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the message unless the MTA names a login."""
        return "" if facts.is_authenticated else "the client did not log in"
