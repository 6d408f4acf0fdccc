"""Every packet of ``tests/vectors``: whole, in pieces, in a row, and back to bytes."""

from __future__ import annotations

import pytest

from mmgr.protocol.commands import CommandMessage, encode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX, Command, Reply
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import CODE, FrameBuffer, split_frames
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import ReplyMessage, encode_reply
from mmgr.protocol.states import IN_TRANSACTION, State, next_state

from .vectors import Vector, load, parse_bytes, parse_vectors

ALL = list({(vector.is_command, vector.frame): vector for vector in reversed(load("*.txt"))}.values())
VALID = [vector for vector in ALL if not vector.error]
BROKEN = [vector for vector in ALL if vector.error]
SESSIONS = {name: load(f"{name}.txt") for name in sorted({v.place.split(":")[0] for v in load("session-*.txt")})}
SPLIT_EVERYWHERE_BYTES = 300
LENGTH_MAX = max(COMMAND_LENGTH_MAX, REPLY_LENGTH_MAX)


def each(vectors: list[Vector]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("vector", vectors, ids=[vector.place for vector in vectors])


def cut_points(frame: bytes) -> list[int]:
    """Every place to cut a short frame at; of a long one those around its prefix and its end, and some between."""
    size = len(frame)
    if size <= SPLIT_EVERYWHERE_BYTES:
        return list(range(1, size))
    return [*range(1, 40), size // 3, size // 2, *range(size - 40, size)]


@each(ALL)
def test_the_written_length_is_that_of_the_packet(vector: Vector) -> None:
    assert int.from_bytes(vector.frame[:CODE], "big") == len(vector.frame) - CODE


@each(VALID)
def test_a_packet_decodes_to_its_record(vector: Vector) -> None:
    assert vector.decode(vector.frame) == vector.message


@each(VALID)
def test_a_record_encodes_to_its_packet(vector: Vector) -> None:
    assert vector.encode() == vector.encoded


@each([vector for vector in VALID if vector.encoded != vector.frame])
def test_what_a_packet_encodes_to_instead_decodes_to_the_same_record(vector: Vector) -> None:
    assert vector.decode(vector.encoded) == vector.message


@each(BROKEN)
def test_a_broken_packet_is_refused_with_the_reason(vector: Vector) -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        vector.decode(vector.frame)
    assert vector.error in str(refused.value)


@each(ALL)
def test_a_packet_cut_in_two_gives_nothing_and_then_itself(vector: Vector) -> None:
    frame = vector.frame
    for cut in cut_points(frame):
        buffer = FrameBuffer(LENGTH_MAX)
        assert buffer.feed(frame[:cut]) == []
        assert len(buffer) == cut
        assert buffer.feed(frame[cut:]) == [frame]
        assert len(buffer) == 0


@each([vector for vector in ALL if len(vector.frame) < 2000])
def test_a_packet_that_comes_byte_by_byte_is_whole_with_its_last_byte_alone(vector: Vector) -> None:
    buffer = FrameBuffer(LENGTH_MAX)
    fed = [buffer.feed(vector.frame[at : at + 1]) for at in range(len(vector.frame))]
    assert fed == [[]] * (len(vector.frame) - 1) + [[vector.frame]]


@each(ALL)
def test_bytes_behind_a_packet_are_kept_for_the_next(vector: Vector) -> None:
    buffer = FrameBuffer(LENGTH_MAX)
    assert buffer.feed(vector.frame + b"\0\0\0") == [vector.frame]
    assert len(buffer) == 3
    assert buffer.feed(b"\x01A") == [b"\0\0\0\x01A"]


@pytest.mark.parametrize("packet_bytes", [1, 7, 4096, 262144, 1 << 30])
def test_all_packets_in_a_row_come_out_in_their_order(packet_bytes: int) -> None:
    frames = [vector.frame for vector in ALL if packet_bytes > 100 or len(vector.frame) < 200]
    sent = b"".join(frames)
    buffer = FrameBuffer(LENGTH_MAX)
    pieces = [sent[at : at + packet_bytes] for at in range(0, len(sent), packet_bytes)]
    assert [frame for piece in pieces for frame in buffer.feed(piece)] == frames


def test_all_packets_in_a_row_split_into_themselves() -> None:
    frames = [vector.frame for vector in ALL]
    assert split_frames(b"".join(frames), LENGTH_MAX) == frames


# ---- what the vectors cover


@pytest.mark.parametrize("command", Command)
def test_each_command_has_a_vector(command: Command) -> None:
    assert any(vector.is_command and vector.frame[CODE] == command for vector in VALID)


@pytest.mark.parametrize("reply", Reply)
def test_each_reply_has_a_vector(reply: Reply) -> None:
    assert any(not vector.is_command and vector.frame[CODE] == reply for vector in VALID)


@pytest.mark.parametrize("command", [command for command in Command if command != Command.SMFIC_BODYEOB])
def test_each_command_but_the_end_of_a_message_has_a_broken_vector(command: Command) -> None:
    assert any(vector.is_command and vector.frame[CODE] == command for vector in BROKEN)


@pytest.mark.parametrize("reply", [reply for reply in Reply if reply != Reply.SMFIR_REPLBODY])
def test_each_reply_but_a_piece_of_body_has_a_broken_vector(reply: Reply) -> None:
    assert any(not vector.is_command and vector.frame[CODE] == reply for vector in BROKEN)


# ---- the recorded sessions


@pytest.mark.parametrize("name", SESSIONS)
def test_a_recorded_session_is_in_order_from_its_first_packet_to_quit(name: str) -> None:
    commands = [vector for vector in SESSIONS[name] if vector.is_command]
    answer = next(vector.message for vector in SESSIONS[name] if not vector.is_command)
    state = State.START
    for vector in commands[:-1]:
        code = vector.frame[CODE]
        if code == Command.SMFIC_ABORT:
            state = State.HELO if state in IN_TRANSACTION else state
        elif code != Command.SMFIC_MACRO:
            following = next_state(state, code, lambda command: not answer.wants(command))
            assert following is not None, f"{vector.place}: {Command(code).name} after {state}"
            state = following
    assert commands[-1].frame[CODE] == Command.SMFIC_QUIT


@pytest.mark.parametrize("name", SESSIONS)
def test_in_a_recorded_session_each_command_that_is_due_a_reply_gets_one_verdict(name: str) -> None:
    verdicts = set(b"cartdys4O")
    answer = OptionNegotiation(6, 0, 0)
    owed = 0
    for vector in SESSIONS[name]:
        if vector.is_command:
            assert owed == 0, f"{vector.place}: the command before it is unanswered"
            owed = int(answer.answers(vector.frame[CODE]))
        else:
            answer = vector.message if isinstance(vector.message, OptionNegotiation) else answer
            owed -= vector.frame[CODE] in verdicts
    assert owed == 0


def test_a_recorded_session_is_the_same_bytes_when_encoded_in_one_go() -> None:
    recorded = [vector for vector in SESSIONS["session-postfix-3.7-smtp"] if vector.is_command]
    messages: list[CommandMessage] = [vector.message for vector in recorded]
    assert b"".join(map(encode_command, messages)) == b"".join(vector.frame for vector in recorded)


def test_the_recorded_edits_are_the_same_bytes_when_encoded_in_one_go() -> None:
    recorded = [vector for vector in SESSIONS["session-libmilter-8.17"] if not vector.is_command][1:]
    messages: list[ReplyMessage] = [vector.message for vector in recorded]
    assert b"".join(map(encode_reply, messages)) == b"".join(vector.frame for vector in recorded)


# ---- how vectors are written


def test_bytes_are_written_as_hex_text_and_repetition() -> None:
    assert parse_bytes(r'00ff 2*0a "a\"b\n\xe9" 3*"x"') == b'\x00\xff\n\na"b\n\xe9xxx'


@pytest.mark.parametrize("text", ["0", "0g", '"open', "'single'", "AB", '00"x"'])
def test_bytes_that_can_not_be_read_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="neither hex nor quoted text"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["> 00", "= Abort()", "> 00\n= Abort()\n! no", "> 00\n< 00\n= Abort()", "x 00"])
def test_a_vector_that_is_not_complete_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        list(parse_vectors("here", text))
