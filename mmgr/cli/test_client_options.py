"""The options of milter-test-client: the incumbent's, and our own that say what it answers at which stage."""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import re
from collections.abc import Mapping, Sequence

from mmgr import __version__
from mmgr.cli import values
from mmgr.peers.behaviour import Action, Behaviour, Close, Delay, Hang, Raw
from mmgr.peers.listening import DEFAULT_MODE
from mmgr.peers.mail import with_crlf, without_one_space
from mmgr.peers.stages import ANSWERED_STAGES, COMMAND_OF_STAGE
from mmgr.protocol.constants import CHUNK_BYTES_MAX, Command, ProtocolFlag
from mmgr.protocol.options import ALWAYS_SILENT, NO_REPLY, NO_STEP
from mmgr.protocol.replies import (
    Accept,
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    Continue,
    DelRcpt,
    Discard,
    Edit,
    InsHeader,
    Progress,
    Quarantine,
    Reject,
    ReplBody,
    ReplyCode,
    Shutdown,
    Skip,
    TempFail,
    malformed,
)

PROGRAM = "milter-test-client"
GARBAGE = b"\x00\x00\x00\x05\xff\xfe\xfd\xfc\xfb"

EPILOGUE = f"""\
stages:   {", ".join(ANSWERED_STAGES)}
          (also: mail, rcpt, eoh, eom)
verdicts: continue, accept, reject, temporary-failure (or tempfail), discard, skip, shutdown;
          a reply of its own such as '550 5.7.1 no' or '451 4.7.1 try later';
          progress, and misdeeds: hang, close, garbage, none (no answer at all)
          Several --reply for one stage are done one after the other.
Edits are made at the end of the message, in the order given, before the verdict.

exit codes: 0 ended by TERM or INT, 1 it could not listen or change user, 2 usage
"""

VERDICTS: dict[str, tuple[Action, ...]] = {
    "continue": (Continue(),),
    "accept": (Accept(),),
    "reject": (Reject(),),
    "temporary-failure": (TempFail(),),
    "tempfail": (TempFail(),),
    "discard": (Discard(),),
    "skip": (Skip(),),
    "shutdown": (Shutdown(),),
    "progress": (Progress(),),
    "hang": (Hang(),),
    "close": (Close(),),
    "garbage": (Raw(GARBAGE),),
    "none": (),
}

WITHOUT_MEANING = {
    "--log-level": "LEVEL",
    "--log-path": "PATH",
    "--syslog": None,
    "--syslog-facility": "FACILITY",
    "--daemon": None,
    "--no-daemon": None,
    "--n-workers": "N_WORKERS",
    "--event-loop-backend": "BACKEND",
    "--packet-buffer-size": "SIZE",
    "--max-pending-finished-sessions": "N_SESSIONS",
}
"""The incumbent's options that are taken and do nothing; their metavar or None."""

_INDEXED = re.compile(rb"([0-9]+):(.*)", re.DOTALL)


def make_parser() -> argparse.ArgumentParser:
    """All options. What the incumbent has no name for is ours."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s -s SPEC [OPTION...]",
        description="A milter that prints every event and answers what you want.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--help-all", "--help-milter", action="help", help="the same")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    _add_incumbent_options(parser)
    _add_answer_options(parser)
    _add_edit_options(parser)
    return parser


def _add_incumbent_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    spec = "where to listen (unix:PATH|inet:PORT[@HOST]|inet6:PORT[@HOST], or an absolute path)"
    add("-s", "--connection-spec", required=True, type=values.endpoint, metavar="SPEC", help=spec)
    add("-v", "--verbose", action="store_true", help="put the session's number in front of each line")
    add("-q", "--quiet", action="store_true", help="print nothing but errors")
    add("--no-report-request", action="store_true", help="do not print the events")
    add("-u", "--user", "--user-id", "--user-name", type=user, metavar="USER", help="run as this user (needs root)")
    add("-g", "--group", "--group-id", "--group-name", type=group, metavar="GROUP", help="run as this group")
    help_group = "group of the unix socket"
    add("--unix-socket-group", "--socket-group-name", type=group, default=-1, metavar="GROUP", help=help_group)
    help_mode = f"mode of the unix socket, octal (default: {DEFAULT_MODE:04o})"
    add("--unix-socket-mode", type=socket_mode, default=DEFAULT_MODE, metavar="MODE", help=help_mode)
    add("--pid-file", metavar="FILE", help="write the process id there, remove it at the end")
    for option, metavar in WITHOUT_MEANING.items():
        if metavar is None:
            add(option, action="store_true", help="taken, without effect here")
        else:
            add(option, metavar=metavar, help="taken, without effect here")


def _add_answer_options(parser: argparse.ArgumentParser) -> None:
    for option, kind, metavar, text in (
        ("--reply", reply, "STAGE=VERDICT", "answer that at STAGE; repeatable"),
        ("--delay", delay, "STAGE=SECONDS", "wait before the answer at STAGE; repeatable"),
        ("--decline", declined, "STAGE", "negotiate not to be sent STAGE; repeatable"),
        ("--no-reply", unanswered, "STAGE", "negotiate not to answer STAGE; repeatable"),
    ):
        parser.add_argument(option, action="append", default=[], type=kind, metavar=metavar, help=text)


def _add_edit_options(parser: argparse.ArgumentParser) -> None:
    for option, kind, metavar, text in _EDIT_OPTIONS:
        parser.add_argument(option, action="append", dest="edits", default=[], type=kind, metavar=metavar, help=text)


def behaviour(options: argparse.Namespace) -> Behaviour:
    """What the options ask for; continue where they say nothing, and everything is wanted."""
    table: dict[int, list[Action]] = {}
    for command, delay_s in options.delay:
        table.setdefault(command, []).append(Delay(delay_s))
    if options.edits:
        table.setdefault(Command.SMFIC_BODYEOB, []).extend(_cut(options.edits))
    complete = {Command.SMFIC_OPTNEG, *(command for command in NO_REPLY if NO_REPLY[command] in options.no_reply)}
    for command, actions in options.reply:
        table.setdefault(command, []).extend(actions)
        if actions != VERDICTS["progress"]:
            complete.add(command)
    for command in table.keys() - complete:
        table[command].append(Continue())
    steps = sum({ProtocolFlag.SMFIP_SKIP, *options.decline, *options.no_reply})
    return Behaviour(steps=steps, at=table)


def _cut(edits: Sequence[Edit]) -> list[Edit]:
    """The edits, with body replacements in pieces that a packet holds."""
    cut: list[Edit] = []
    for edit in edits:
        if isinstance(edit, ReplBody) and len(edit.chunk) > CHUNK_BYTES_MAX:
            starts = range(0, len(edit.chunk), CHUNK_BYTES_MAX)
            cut += [ReplBody(edit.chunk[start : start + CHUNK_BYTES_MAX]) for start in starts]
        else:
            cut.append(edit)
    return cut


# Values of options: text in, value out, ArgumentTypeError for what makes no sense


def stage(text: str) -> int:
    """The command of a stage's name."""
    command = COMMAND_OF_STAGE.get(text)
    if command is None or command in ALWAYS_SILENT:
        raise argparse.ArgumentTypeError(f"{text!r} is no stage; there are {', '.join(ANSWERED_STAGES)}")
    return command


def declined(text: str) -> int:
    """The flag that leaves a stage out."""
    return _flag(NO_STEP, text, "can't be left out")


def unanswered(text: str) -> int:
    """The flag that takes a stage's reply away."""
    return _flag(NO_REPLY, text, "is always answered")


def _flag(flags: Mapping[int, ProtocolFlag], text: str, why_not: str) -> int:
    flag = flags.get(stage(text))
    if flag is None:
        raise argparse.ArgumentTypeError(f"{text} {why_not}")
    return flag


def reply(text: str) -> tuple[int, tuple[Action, ...]]:
    """STAGE=VERDICT, as the stage's command and what to do there."""
    name, equals, word = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} should be STAGE=VERDICT")
    command = stage(name)
    if word in VERDICTS:
        return command, VERDICTS[word]
    own = ReplyCode(os.fsencode(word))
    if not re.match("[45][0-9][0-9]", word) or malformed(own):
        words = ", ".join(VERDICTS)
        raise argparse.ArgumentTypeError(f"{word!r} is no verdict; there are {words}, or a reply like '550 5.7.1 no'")
    return command, (own,)


def delay(text: str) -> tuple[int, float]:
    """STAGE=SECONDS"""
    name, equals, number = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} should be STAGE=SECONDS")
    return stage(name), values.seconds(number)


def added_header(text: str) -> AddHeader:
    """NAME:VALUE"""
    return AddHeader(*_header(text))


def inserted_header(text: str) -> InsHeader:
    """INDEX:NAME:VALUE"""
    found = _INDEXED.fullmatch(os.fsencode(text))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} should be INDEX:NAME:VALUE")
    return InsHeader(_index(found), *_header(os.fsdecode(found.group(2))))


def changed_header(text: str) -> ChgHeader:
    """[INDEX:]NAME:VALUE"""
    found = _INDEXED.fullmatch(os.fsencode(text))
    name, value = _header(os.fsdecode(found.group(2)) if found else text)
    return ChgHeader(_index(found) if found else 1, name, value)


def deleted_header(text: str) -> ChgHeader:
    """[INDEX:]NAME"""
    found = _INDEXED.fullmatch(os.fsencode(text))
    name = found.group(2) if found else os.fsencode(text)
    if not name:
        raise argparse.ArgumentTypeError(f"{text!r} should be [INDEX:]NAME")
    return ChgHeader(_index(found) if found else 1, name, b"")


def _header(text: str) -> tuple[bytes, bytes]:
    name, value = values.name_and_value(text)
    return name, without_one_space(value)


def _index(found: re.Match[bytes]) -> int:
    return values.count(found.group(1).decode(), most=0xFFFFFFFF)


def added_recipient(text: str) -> AddRcpt | AddRcptPar:
    """ADDRESS, perhaps with ESMTP parameters behind a blank."""
    address, blank, parameters = os.fsencode(text).partition(b" ")
    return AddRcptPar(address, parameters) if blank else AddRcpt(address)


def deleted_recipient(text: str) -> DelRcpt:
    """ADDRESS"""
    return DelRcpt(os.fsencode(text))


def changed_sender(text: str) -> ChgFrom:
    """ADDRESS, perhaps with ESMTP parameters behind a blank."""
    address, blank, parameters = os.fsencode(text).partition(b" ")
    return ChgFrom(address, parameters if blank else None)


def replaced_body(text: str) -> ReplBody:
    """TEXT"""
    return ReplBody(with_crlf(os.fsencode(text)))


def quarantine(text: str) -> Quarantine:
    """REASON"""
    return Quarantine(os.fsencode(text))


def socket_mode(text: str) -> int:
    """Up to three octal digits, a leading zero more."""
    if not re.fullmatch("0?[0-7]{1,3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no mode such as 0660")
    return int(text, 8)


def user(text: str) -> pwd.struct_passwd:
    """A user by name or number."""
    try:
        return pwd.getpwuid(int(text)) if text.isdigit() else pwd.getpwnam(text)
    except (KeyError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"there is no user {text!r}") from error


def group(text: str) -> int:
    """The number of a group given by name or number."""
    try:
        return (grp.getgrgid(int(text)) if text.isdigit() else grp.getgrnam(text)).gr_gid
    except (KeyError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"there is no group {text!r}") from error


_EDIT_OPTIONS = (
    ("--add-header", added_header, "NAME:VALUE", "add a header at the end"),
    ("--insert-header", inserted_header, "INDEX:NAME:VALUE", "insert a header; index 0 is the top"),
    ("--change-header", changed_header, "[INDEX:]NAME:VALUE", "change the INDEXth header of that name (1)"),
    ("--delete-header", deleted_header, "[INDEX:]NAME", "delete the INDEXth header of that name (1)"),
    ("--add-recipient", added_recipient, "ADDRESS", "add a recipient; ESMTP parameters may follow a blank"),
    ("--delete-recipient", deleted_recipient, "ADDRESS", "delete a recipient"),
    ("--change-from", changed_sender, "ADDRESS", "change the sender; ESMTP parameters may follow a blank"),
    ("--replace-body", replaced_body, "TEXT", "replace the body; a line feed in TEXT becomes CRLF"),
    ("--quarantine", quarantine, "REASON", "have the message held"),
)
