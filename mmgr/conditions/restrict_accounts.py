"""Restrict Accounts: the milter sees only mail all of whose recipients are in a list. PURE.

The administrator names each of these conditions and may have several. A recipient that is not in the list is kept from
the milter, and since a milter judges a message as a whole, such a message is kept from it from DATA on.
"""

from __future__ import annotations

from collections.abc import Iterable

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts, mailbox
from mmgr.conditions.patterns import PatternError, Patterns, listed, words

SHOWN_RECIPIENTS = 5
"""Of how many recipients it is told what they fit."""


class RestrictAccounts(Condition):
    """Lets a milter take part in messages to the accounts: an address, "@DOMAIN", ".DOMAIN" or /REGULAR EXPRESSION/."""

    stages = frozenset((Stage.RCPT, Stage.DATA))

    def __init__(self, name: str, accounts: Iterable[str], description: str = "") -> None:
        self._accounts = Patterns(accounts)
        if not name.strip():
            raise PatternError("a condition needs a name")
        if not self._accounts.items:
            raise PatternError(f"{name}: no accounts are given", "accounts = user@example.com, @example.net")
        self.name = name
        self.description = description or f"all recipients are among {listed(self._accounts.items)}"

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for a recipient that is not in the list, and at DATA for a message that has one."""
        if stage is Stage.RCPT:
            return self._judge_one(facts.recipient)
        if not facts.recipients:
            return "no recipient is known"
        return next(filter(None, map(self._judge_one, facts.recipients)), "")

    def explain(self, facts: Facts) -> str:
        """What of the list each recipient fits."""
        accounts = [mailbox(recipient) for recipient in facts.recipients[:SHOWN_RECIPIENTS]]
        said = [f"recipient {words(one)} fits {self._accounts.match(one)}" for one in accounts]
        others = len(facts.recipients) - len(accounts)
        return ", ".join([*said, *([f"and {others} more do too"] if others > 0 else [])])

    def _judge_one(self, recipient: bytes) -> str:
        account = mailbox(recipient)
        return "" if self._accounts.match(account) else f"recipient {words(account)} is not among the accounts"
