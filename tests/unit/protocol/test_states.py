"""The order of commands, exhaustively: every state, every command, every set of declined steps."""

from __future__ import annotations

import itertools

import pytest

from mmgr.protocol.constants import Command
from mmgr.protocol.states import AFTER, IN_TRANSACTION, State, next_state

# Rows are states, columns commands. "yes": in order; "-": out of order; letters: in order only if the milter declined
# the steps with these letters, which lie in between. The rows are those of libmilter's next_states, but for what the
# second table lists; A, Q, K and D stand in no row, as they are allowed everywhere.
TABLE = """
              O    C    H    M    R    T    L    N    B    E    U    A    Q    K    D
START         yes  -    -    -    -    -    -    -    -    -    -    -    -    -    -
NEGOTIATED    -    yes  C    C    CM   CMR  CMR  CMR  CMR  CMR  yes  -    -    -    -
CONNECT       -    -    yes  yes  M    MR   MR   MR   MR   MR   yes  -    -    -    -
HELO          -    -    yes  yes  M    MR   MR   MR   MR   MR   yes  -    -    -    -
MAIL          -    -    -    -    yes  R    R    R    R    R    yes  -    -    -    -
RCPT          -    -    -    -    yes  yes  yes  yes  yes  yes  yes  -    -    -    -
DATA          -    -    -    -    -    -    yes  yes  yes  yes  -    -    -    -    -
HEADER        -    -    -    -    -    -    yes  yes  yes  yes  -    -    -    -    -
EOH           -    -    -    -    -    -    -    -    yes  yes  -    -    -    -    -
BODY          -    -    -    -    -    -    -    -    yes  yes  -    -    -    -    -
END           -    -    yes  yes  M    MR   MR   MR   MR   MR   yes  -    -    -    -
"""
KINDER_THAN_LIBMILTER = {
    ("DATA", "B"): "without the end of headers, which libmilter drops if it was wanted",
    ("DATA", "E"): "the same",
    ("HEADER", "B"): "the same",
    ("HEADER", "E"): "the same",
    ("END", "H"): "libmilter gets there by starting again from HELO",
}
LIBMILTER = {
    "START": "O", "NEGOTIATED": "CU", "CONNECT": "HMU", "HELO": "HMU", "MAIL": "RU", "RCPT": "RTLNBEU", "DATA": "LN",
    "HEADER": "LN", "EOH": "BE", "BODY": "BE", "END": "MU",
}  # fmt: skip
STATE_AFTER = {
    "O": "NEGOTIATED", "C": "CONNECT", "H": "HELO", "M": "MAIL", "R": "RCPT", "T": "DATA", "L": "HEADER", "N": "EOH",
    "B": "BODY", "E": "END",
}  # fmt: skip
DECLINABLE = "CHMRTLNBU"
DECLINED = [frozenset(some) for size in range(10) for some in itertools.combinations(DECLINABLE, size)]


def rows() -> dict[State, dict[str, str]]:
    head, *lines = [line.split() for line in TABLE.split("\n") if line]
    return {State[line[0]]: dict(zip(head, line[1:])) for line in lines}


def expected(state: State, letter: str, cell: str, declined: frozenset[str]) -> State | None:
    if cell == "-" or (cell != "yes" and not set(cell) <= declined):
        return None
    return state if letter == "U" else State[STATE_AFTER[letter]]


def test_the_table_has_every_state_and_every_command() -> None:
    assert set(rows()) == set(State)
    assert all({ord(letter) for letter in row} == set(Command) for row in rows().values())


@pytest.mark.parametrize("state", State)
def test_every_command_in_every_state_whatever_was_declined(state: State) -> None:
    for letter, cell in rows()[state].items():
        for declined in DECLINED:
            found = next_state(state, ord(letter), lambda command, declined=declined: chr(command) in declined)
            assert found is expected(state, letter, cell, declined), (letter, "".join(sorted(declined)))


@pytest.mark.parametrize("state", State)
def test_without_declined_steps_it_is_the_row_of_the_state(state: State) -> None:
    for command in Command:
        assert next_state(state, command, lambda _: False) is AFTER[state].get(command)


@pytest.mark.parametrize("state", State)
def test_what_is_in_order_here_is_in_order_in_libmilter_but_for_what_is_said(state: State) -> None:
    ours = {letter for letter, cell in rows()[state].items() if cell == "yes"}
    kinder = {letter for name, letter in KINDER_THAN_LIBMILTER if name == state.name}
    assert ours == set(LIBMILTER[state.name]) | kinder


@pytest.mark.parametrize("code", [0, ord("X"), ord("c"), 255])
def test_a_command_that_does_not_exist_is_out_of_order_everywhere(code: int) -> None:
    assert all(next_state(state, code, lambda _: True) is None for state in State)


def test_a_transaction_lasts_from_mail_to_the_body() -> None:
    names = ["MAIL", "RCPT", "DATA", "HEADER", "EOH", "BODY"]
    assert {state.name for state in IN_TRANSACTION} == set(names)


def test_a_milter_that_declined_all_but_the_end_of_a_message_still_gets_that() -> None:
    assert next_state(State.CONNECT, Command.SMFIC_BODYEOB, lambda command: chr(command) in DECLINABLE) is State.END


def test_an_unknown_command_between_recipients_and_headers_changes_nothing() -> None:
    state = next_state(State.RCPT, Command.SMFIC_UNKNOWN, lambda _: False)
    assert state is State.RCPT
    assert next_state(state, Command.SMFIC_HEADER, lambda _: False) is State.HEADER
