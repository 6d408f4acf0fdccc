"""What every condition is: asked at the stages that it names, it lets a milter take part or says why not. PURE.

The built-in conditions have a file each beside this one; ``expression`` makes them of one line of configuration, and
plug-ins are classes of this kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from mmgr.conditions.facts import Facts

NO_MACROS: Mapping[bytes, bytes] = {}


class Stage(IntEnum):
    """When something can be judged, in the order of a session. CONTENT is the whole message, before the milter gets it.

    A milter that is stopped at CONNECT or HELO is out for the session, at MAIL, DATA or CONTENT for the message; at
    RCPT that recipient alone is kept from it.
    """

    CONNECT = 0
    HELO = 1
    MAIL = 2
    RCPT = 3
    DATA = 4
    CONTENT = 5


class Condition:
    """One condition. It is shared by all sessions and milters, so it keeps nothing between calls.

    name is what ``applicable_conditions`` says; description one line for people. stages are those at which ``judge`` is
    called, macro_stages those at which ``macros`` is. reads are the macros that it looks at, by stage: they are asked
    of the MTA where milters ask for lists.
    """

    name: str = ""
    description: str = ""
    stages: frozenset[Stage] = frozenset()
    macro_stages: frozenset[Stage] = frozenset()
    reads: Mapping[Stage, tuple[bytes, ...]] = {}

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Whether the milter takes part: "" if it does as far as this stage tells, else why not, in words for people.

        The words may quote what the MTA sent; who prints them escapes and cuts. Stages come in order, those that the
        MTA leaves out are left out here too, except that DATA is always asked about before CONTENT.
        """
        raise NotImplementedError

    def explain(self, facts: Facts) -> str:
        """What lets the milter take part in a session in which nothing stops it, in words for people; facts are all."""
        return self.description

    def macros(self, stage: Stage, facts: Facts) -> Mapping[bytes, bytes]:
        """What the milter is sent besides the MTA's own macros of the stage, by name; the MTA's own values win."""
        return NO_MACROS
