"""What a scriptable MTA knows of macros, and which of them a milter is sent at which stage. PURE.

An MTA has one list of names for each stage and sends those that have a value there; a list that the milter asked for
replaces the MTA's own. Source: Postfix MILTER_README and src/milter/milter_macros.c; sendmail's cf/README.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmgr.protocol.constants import Command, MacroStage
from mmgr.protocol.macros import DEFAULT_MACROS, STAGE_OF_COMMAND, bare, braced

MacroPairs = tuple[tuple[bytes, bytes], ...]

DEFAULT_LISTS: Mapping[MacroStage, tuple[bytes, ...]] = {
    **DEFAULT_MACROS,
    MacroStage.SMFIM_CONNECT: (*DEFAULT_MACROS[MacroStage.SMFIM_CONNECT], b"{if_name}", b"{if_addr}"),
}

CONTENT_STAGES: Mapping[int, MacroStage] = {
    Command.SMFIC_HEADER: MacroStage.SMFIM_EOH,
    Command.SMFIC_BODY: MacroStage.SMFIM_EOM,
}
"""Postfix repeats these lists before each header and each body chunk; Sendmail does not."""


@dataclass(frozen=True)
class MacroTable:
    """The macros of one MTA, all by bare name.

    values: what it knows, sent where a list names it. of_command: sent with that command whatever the lists say; these
    win. lists: the MTA's own lists. in_content: repeat lists before headers and body chunks, as Postfix does.
    """

    values: Mapping[bytes, bytes] = field(default_factory=dict)
    of_command: Mapping[int, Mapping[bytes, bytes]] = field(default_factory=dict)
    lists: Mapping[MacroStage, tuple[bytes, ...]] = field(default_factory=lambda: DEFAULT_LISTS)
    in_content: bool = False

    def pairs(
        self, command: int, asked: Mapping[MacroStage, tuple[bytes, ...]], live: Mapping[bytes, bytes]
    ) -> MacroPairs:
        """(name as it travels, value) of what is sent ahead of command; empty where there is nothing to send.

        asked are the milter's own lists (an empty one means the MTA's, as in Postfix), live what is known only now,
        such as the queue id.
        """
        explicit = self.of_command.get(command, {})
        known = {**self.values, **live, **explicit}
        names = dict.fromkeys([bare(name) for name in self._listed(command, asked)] + list(explicit))
        return tuple((braced(name), known[name]) for name in names if name in known)

    def _listed(self, command: int, asked: Mapping[MacroStage, tuple[bytes, ...]]) -> tuple[bytes, ...]:
        stage = STAGE_OF_COMMAND.get(command)
        if stage is None and self.in_content:
            stage = CONTENT_STAGES.get(command)
        if stage is None:
            return ()
        return asked.get(stage) or self.lists.get(stage, ())
