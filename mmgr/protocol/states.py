"""The order of commands on one connection, as a table. It does not know which side of the wire we are on.

Everything about order lives here: a state is the last command that counted, and a command that is missing from its row
is out of order, unless only steps that were negotiated away lie in between. Source: libmilter engine.c,
``next_states``. Where libmilter drops a command without a reply, and the MTA waits in vain, the table is kinder:

- an unknown command leaves the state as it is, while in libmilter headers are dropped after one;
- body and end of message are in order after DATA and headers even if the end of headers was wanted and did not come;
- HELO is in order after the end of a message (libmilter gets there by starting again from HELO).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Callable

from mmgr.protocol.constants import Command


class State(str, Enum):
    """Where a connection stands. Strings too, which have a quick hash."""

    START = "start"
    NEGOTIATED = "negotiated"
    CONNECT = "connect"
    HELO = "helo"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    HEADER = "header"
    EOH = "end of headers"
    BODY = "body"
    END = "end"


_C = Command
AFTER: Mapping[State, Mapping[int, State]] = {
    State.START: {_C.SMFIC_OPTNEG: State.NEGOTIATED},
    State.NEGOTIATED: {_C.SMFIC_CONNECT: State.CONNECT, _C.SMFIC_UNKNOWN: State.NEGOTIATED},
    State.CONNECT: {_C.SMFIC_HELO: State.HELO, _C.SMFIC_MAIL: State.MAIL, _C.SMFIC_UNKNOWN: State.CONNECT},
    State.HELO: {_C.SMFIC_HELO: State.HELO, _C.SMFIC_MAIL: State.MAIL, _C.SMFIC_UNKNOWN: State.HELO},
    State.MAIL: {_C.SMFIC_RCPT: State.RCPT, _C.SMFIC_UNKNOWN: State.MAIL},
    State.RCPT: {
        _C.SMFIC_RCPT: State.RCPT,
        _C.SMFIC_DATA: State.DATA,
        _C.SMFIC_HEADER: State.HEADER,
        _C.SMFIC_EOH: State.EOH,
        _C.SMFIC_BODY: State.BODY,
        _C.SMFIC_BODYEOB: State.END,
        _C.SMFIC_UNKNOWN: State.RCPT,
    },
    State.DATA: {
        _C.SMFIC_HEADER: State.HEADER,
        _C.SMFIC_EOH: State.EOH,
        _C.SMFIC_BODY: State.BODY,
        _C.SMFIC_BODYEOB: State.END,
    },
    State.HEADER: {
        _C.SMFIC_HEADER: State.HEADER,
        _C.SMFIC_EOH: State.EOH,
        _C.SMFIC_BODY: State.BODY,
        _C.SMFIC_BODYEOB: State.END,
    },
    State.EOH: {_C.SMFIC_BODY: State.BODY, _C.SMFIC_BODYEOB: State.END},
    State.BODY: {_C.SMFIC_BODY: State.BODY, _C.SMFIC_BODYEOB: State.END},
    State.END: {_C.SMFIC_HELO: State.HELO, _C.SMFIC_MAIL: State.MAIL, _C.SMFIC_UNKNOWN: State.END},
}
"""AFTER[state][command] is the state after it. Macros, abort, quit and its kind that goes on with a new connection are
allowed everywhere and stand in no row."""

_STEP_INTO: Mapping[State, int] = {
    State.CONNECT: _C.SMFIC_CONNECT,
    State.HELO: _C.SMFIC_HELO,
    State.MAIL: _C.SMFIC_MAIL,
    State.RCPT: _C.SMFIC_RCPT,
    State.DATA: _C.SMFIC_DATA,
}

IN_TRANSACTION: frozenset[State] = frozenset(
    (State.MAIL, State.RCPT, State.DATA, State.HEADER, State.EOH, State.BODY),
)


def next_state(state: State, command: int, is_declined: Callable[[int], bool]) -> State | None:
    """The state after command, or None if it is out of order there.

    is_declined says of a command whether it was negotiated away; such steps may be jumped over.

    >>> next_state(State.CONNECT, Command.SMFIC_RCPT, lambda command: command == Command.SMFIC_MAIL)
    <State.RCPT: 'rcpt'>
    """
    found = AFTER[state].get(command)
    if found is not None:
        return found
    seen = set()
    rows = [state]
    while rows:
        row = rows.pop()
        seen.add(row)
        found = AFTER[row].get(command)
        if found is not None:
            return found
        rows += [
            target
            for target in AFTER[row].values()
            if target in _STEP_INTO and target not in seen and is_declined(_STEP_INTO[target])
        ]
    return None
