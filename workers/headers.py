"""A message as it came, taken apart in bulk: headers that come each behind the same macros, as from Postfix. PURE."""

from __future__ import annotations

import re

from mmgr.protocol.commands import check_command
from mmgr.protocol.constants import Command
from mmgr.protocol.framing import CODE, LENGTH_PREFIX, PAYLOAD
from mmgr.protocol.states import AFTER, State
from workers.macrostore import MacroStore
from workers.message import Message

_MACRO, _HEADER, _BODY = int(Command.SMFIC_MACRO), int(Command.SMFIC_HEADER), int(Command.SMFIC_BODY)
CONTENT = frozenset((_HEADER, int(Command.SMFIC_EOH), _BODY, int(Command.SMFIC_BODYEOB)))
"""The commands of a message's content."""

_match_header = re.compile(rb"(?s)....%c[^\0]*\0[^\0]*\0" % _HEADER).fullmatch
_unpack = LENGTH_PREFIX.unpack_from


def split_headers(data: bytes) -> tuple[bytes, list[bytes], int]:
    """The headers at the beginning of data if each comes behind the same macros, as from Postfix, those macros, and
    where the headers end. The last header is left where it is; no headers if they are not like this."""
    repeated = data[: CODE + _unpack(data)[0]]
    if len(repeated) <= PAYLOAD or repeated[PAYLOAD] != _HEADER:
        return b"", [], 0
    headers = data.split(repeated)[1:-1]
    lengths = [(len(frame) - CODE,) for frame in headers]
    if not headers or not all(map(_match_header, headers)) or list(map(_unpack, headers)) != lengths:
        return b"", [], 0
    return repeated, headers, len(headers) * len(repeated) + sum(map(len, headers))


def take_content(data: bytes, state: State, longest: int, macros: MacroStore, message: Message) -> bool:
    """Take everything from the headers to the end of the message; False, and all as it was, if anything is unusual.

    state is where the session stands before it, longest how many bytes of body stay in memory. Raises
    RemoteProtocolError, struct.error where a packet is malformed.
    """
    headers: list[bytes] = []
    bodies: list[bytes] = []
    came: dict[int, bytes] = {}
    at, size, repeated = 0, len(data), b""
    if data[CODE] == _MACRO:
        repeated, headers, at = split_headers(data)
        if headers:
            check_command(repeated)
            came[_HEADER] = repeated
            state = AFTER[state].get(_HEADER, State.START)
    while at < size:
        end = at + CODE + _unpack(data, at)[0]
        frame = data[at:end]
        at = end
        if frame == repeated:
            continue
        if end > size or len(frame) < PAYLOAD:
            return False
        command = frame[CODE]
        if command == _HEADER and state is State.HEADER:
            if frame[-1] or frame.count(0, PAYLOAD) != 2:
                return False
            headers.append(frame)
            continue
        check_command(frame)
        if command == _MACRO:
            came[frame[PAYLOAD]] = repeated = frame
            continue
        following = AFTER[state].get(command)
        if following is None or command not in CONTENT:
            return False
        state = following
        if command == _HEADER:
            headers.append(frame)
        elif command == _BODY:
            bodies.append(frame)
    if state is not State.END or len(bodies) > 1 or (bodies and len(bodies[0]) > longest):
        return False
    for frame in came.values():
        macros.take(frame)
    message.headers.came.extend(headers)
    for frame in bodies:
        message.body.add_frame(frame)
    return True
