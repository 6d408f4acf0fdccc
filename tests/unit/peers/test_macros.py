"""Which macros go ahead of which command."""

from __future__ import annotations

from mmgr.peers.macros import MacroTable
from mmgr.protocol.constants import Command, MacroStage

KNOWN = {b"i": b"Q", b"mail_addr": b"a@b", b"j": b"host", b"rare": b"r"}


def test_the_default_list_gives_what_has_a_value() -> None:
    assert MacroTable(KNOWN).pairs(Command.SMFIC_MAIL, {}, {}) == ((b"i", b"Q"), (b"{mail_addr}", b"a@b"))


def test_a_list_that_the_milter_asked_for_replaces_the_default() -> None:
    asked = {MacroStage.SMFIM_ENVFROM: (b"{rare}", b"{j}", b"{none}")}
    assert MacroTable(KNOWN).pairs(Command.SMFIC_MAIL, asked, {}) == ((b"{rare}", b"r"), (b"j", b"host"))


def test_an_empty_list_means_the_default_as_in_postfix() -> None:
    assert MacroTable(KNOWN).pairs(Command.SMFIC_DATA, {MacroStage.SMFIM_DATA: ()}, {}) == ((b"i", b"Q"),)


def test_live_values_win_over_known_ones_and_explicit_ones_over_both() -> None:
    table = MacroTable(KNOWN, {Command.SMFIC_DATA: {b"i": b"X"}})
    assert table.pairs(Command.SMFIC_EOH, {}, {b"i": b"L"}) == ((b"i", b"L"),)
    assert table.pairs(Command.SMFIC_DATA, {}, {b"i": b"L"}) == ((b"i", b"X"),)


def test_explicit_macros_are_sent_whatever_the_lists_say() -> None:
    table = MacroTable({}, {Command.SMFIC_HELO: {b"own": b"1"}})
    asked = {MacroStage.SMFIM_HELO: (b"{cipher}",)}
    assert table.pairs(Command.SMFIC_HELO, asked, {}) == ((b"{own}", b"1"),)


def test_headers_and_body_have_macros_only_as_in_postfix() -> None:
    assert MacroTable(KNOWN).pairs(Command.SMFIC_HEADER, {}, {}) == ()
    table = MacroTable(KNOWN, in_content=True)
    assert table.pairs(Command.SMFIC_HEADER, {}, {}) == ((b"i", b"Q"),)
    assert table.pairs(Command.SMFIC_BODY, {MacroStage.SMFIM_EOM: (b"j",)}, {}) == ((b"j", b"host"),)


def test_commands_without_a_stage_have_none() -> None:
    assert MacroTable(KNOWN).pairs(Command.SMFIC_UNKNOWN, {}, {}) == ()
