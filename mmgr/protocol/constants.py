"""The numbers of the wire, under libmilter's own names, and the limits with their sources."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Command(IntEnum):
    """MTA to milter: the first byte of a packet."""

    SMFIC_OPTNEG = ord("O")
    SMFIC_MACRO = ord("D")
    SMFIC_CONNECT = ord("C")
    SMFIC_HELO = ord("H")
    SMFIC_MAIL = ord("M")
    SMFIC_RCPT = ord("R")
    SMFIC_DATA = ord("T")
    SMFIC_HEADER = ord("L")
    SMFIC_EOH = ord("N")
    SMFIC_BODY = ord("B")
    SMFIC_BODYEOB = ord("E")
    SMFIC_ABORT = ord("A")
    SMFIC_QUIT = ord("Q")
    SMFIC_QUIT_NC = ord("K")
    SMFIC_UNKNOWN = ord("U")


class Reply(IntEnum):
    """Milter to MTA: the first byte of a packet."""

    SMFIR_CONTINUE = ord("c")
    SMFIR_ACCEPT = ord("a")
    SMFIR_REJECT = ord("r")
    SMFIR_TEMPFAIL = ord("t")
    SMFIR_DISCARD = ord("d")
    SMFIR_REPLYCODE = ord("y")
    SMFIR_SKIP = ord("s")
    SMFIR_SHUTDOWN = ord("4")
    SMFIR_CONN_FAIL = ord("f")
    SMFIR_OPTNEG = ord("O")
    SMFIR_PROGRESS = ord("p")
    SMFIR_ADDHEADER = ord("h")
    SMFIR_INSHEADER = ord("i")
    SMFIR_CHGHEADER = ord("m")
    SMFIR_ADDRCPT = ord("+")
    SMFIR_ADDRCPT_PAR = ord("2")
    SMFIR_DELRCPT = ord("-")
    SMFIR_CHGFROM = ord("e")
    SMFIR_REPLBODY = ord("b")
    SMFIR_QUARANTINE = ord("q")


class ActionFlag(IntFlag):
    """What a milter may do to a message; second word of a negotiation."""

    SMFIF_ADDHDRS = 0x001
    SMFIF_CHGBODY = 0x002
    SMFIF_ADDRCPT = 0x004
    SMFIF_DELRCPT = 0x008
    SMFIF_CHGHDRS = 0x010
    SMFIF_QUARANTINE = 0x020
    SMFIF_CHGFROM = 0x040
    SMFIF_ADDRCPT_PAR = 0x080
    SMFIF_SETSYMLIST = 0x100


class ProtocolFlag(IntFlag):
    """Which steps are left out or go unanswered; third word of a negotiation."""

    SMFIP_NOCONNECT = 0x00000001
    SMFIP_NOHELO = 0x00000002
    SMFIP_NOMAIL = 0x00000004
    SMFIP_NORCPT = 0x00000008
    SMFIP_NOBODY = 0x00000010
    SMFIP_NOHDRS = 0x00000020
    SMFIP_NOEOH = 0x00000040
    SMFIP_NR_HDR = 0x00000080
    SMFIP_NOUNKNOWN = 0x00000100
    SMFIP_NODATA = 0x00000200
    SMFIP_SKIP = 0x00000400
    SMFIP_RCPT_REJ = 0x00000800
    SMFIP_NR_CONN = 0x00001000
    SMFIP_NR_HELO = 0x00002000
    SMFIP_NR_MAIL = 0x00004000
    SMFIP_NR_RCPT = 0x00008000
    SMFIP_NR_DATA = 0x00010000
    SMFIP_NR_UNKN = 0x00020000
    SMFIP_NR_EOH = 0x00040000
    SMFIP_NR_BODY = 0x00080000
    SMFIP_HDR_LEADSPC = 0x00100000
    SMFIP_MDS_256K = 0x10000000
    SMFIP_MDS_1M = 0x20000000


class MacroStage(IntEnum):
    """Where a macro list belongs, numbered as in a negotiation (end of message comes before end of headers)."""

    SMFIM_CONNECT = 0
    SMFIM_HELO = 1
    SMFIM_ENVFROM = 2
    SMFIM_ENVRCPT = 3
    SMFIM_DATA = 4
    SMFIM_EOM = 5
    SMFIM_EOH = 6


SMFI_VERSION_MIN = 2
"""Oldest version spoken here. libmilter (8.17) closes on an MTA of version 1."""

SMFI_VERSION_MAX = 6
"""Newest version there is; Sendmail 8.14 brought it."""

PACKET_LENGTH_MIN = 1
"""A packet has at least its command byte; Postfix drops a milter that announces less."""

CHUNK_BYTES_MAX = 65535
"""MILTER_CHUNK_SIZE of libmilter: Sendmail and Postfix cut bodies at this size, and libmilter hangs up above it."""

COMMAND_LENGTH_MAX = 1048576 + 1
"""What an MTA may announce. Bodies are cut at 65,535 bytes, but a header travels whole: Postfix sends up to its
header_size_limit (102,400 bytes by default when no milter lowers it), rspamd reads 131,072, and the largest
negotiable data size (SMFIP_MDS_1M) is 1,048,575 bytes."""

REPLY_LENGTH_MAX = 1048576 + 1
"""What a child may announce: the largest negotiable data size; replaced bodies are cut again towards the MTA."""


def flag_names(flag_type: type[IntFlag], value: int) -> str:
    """All names of the bits set in value, joined by ``|``; bits without a name in hex, ``-`` for none.

    ``str()`` of an IntFlag differs between Python 3.9 and 3.11, so nothing else formats flags.
    """
    names = [member.name or hex(member) for member in flag_type if member & value]
    rest = value
    for member in flag_type:
        rest &= ~int(member)
    if rest:
        names.append(hex(rest))
    return "|".join(names) or "-"


STAGE_NAMES: dict[int, str] = {
    Command.SMFIC_OPTNEG: "negotiate",
    Command.SMFIC_MACRO: "macro",
    Command.SMFIC_CONNECT: "connect",
    Command.SMFIC_HELO: "helo",
    Command.SMFIC_MAIL: "mail",
    Command.SMFIC_RCPT: "rcpt",
    Command.SMFIC_DATA: "data",
    Command.SMFIC_HEADER: "header",
    Command.SMFIC_EOH: "end-of-header",
    Command.SMFIC_BODY: "body",
    Command.SMFIC_BODYEOB: "end-of-message",
    Command.SMFIC_ABORT: "abort",
    Command.SMFIC_QUIT: "quit",
    Command.SMFIC_QUIT_NC: "quit",
    Command.SMFIC_UNKNOWN: "unknown",
}
"""The words for stages in logs, process titles and on command lines."""
