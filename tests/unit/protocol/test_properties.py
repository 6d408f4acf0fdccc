"""What holds for any bytes and any record, tried on random ones."""

from __future__ import annotations

from typing import Callable, Union, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.protocol import commands, replies
from mmgr.protocol.commands import CommandMessage, decode_command, encode_command
from mmgr.protocol.constants import ActionFlag, Command, MacroStage, ProtocolFlag, Reply, flag_names
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.fields import shown
from mmgr.protocol.framing import FrameBuffer, encode_frame, looks_like
from mmgr.protocol.macros import braced, merge_macro_lists
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import ReplyCode, ReplyMessage, decode_reply, encode_reply, malformed

LIMIT = 64
Decode = Callable[[bytes], Union[CommandMessage, ReplyMessage]]

often = settings(max_examples=100, deadline=None)
more_often = settings(max_examples=300, deadline=None)
both_ways = pytest.mark.parametrize("decode", [decode_command, decode_reply], ids=["command", "reply"])

# ---- bytes

text = st.binary(max_size=20).map(lambda data: data.replace(b"\0", b"0"))
codes = st.one_of(st.sampled_from([*Command, *Reply]), st.integers(0, 255))
payloads = st.one_of(
    st.binary(max_size=40),
    st.lists(st.one_of(text, st.binary(max_size=6)), max_size=4).map(lambda parts: b"\0".join(parts) + b"\0"),
)
frames = st.builds(encode_frame, codes, payloads)
streams = st.one_of(
    st.binary(max_size=200),
    st.lists(st.one_of(frames, st.binary(max_size=3)), max_size=6).map(b"".join),
)


def cuts(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places as far as they lie in it."""
    edges = [0, *sorted(place for place in places if place < len(data)), len(data)]
    return [data[start:end] for start, end in zip(edges, edges[1:])]


def outcome(pieces: list[bytes], decode: Decode) -> tuple[list[object], bool]:
    """What a peer's bytes amount to: messages and refused packets, and whether the stream broke."""
    buffer = FrameBuffer(LIMIT)
    found: list[object] = []
    try:
        for piece in [*pieces, b""]:
            for frame in buffer.feed(piece):
                try:
                    found.append(decode(frame))
                except RemoteProtocolError as error:
                    found.append(str(error))
    except RemoteProtocolError:
        return found, True
    return found, False


@both_ways
@often
@given(data=streams)
def test_any_bytes_give_messages_or_the_peers_error_whole_or_byte_by_byte(decode: Decode, data: bytes) -> None:
    assert outcome([data], decode) == outcome([data[at : at + 1] for at in range(len(data))], decode)


@both_ways
@often
@given(data=streams, places=st.lists(st.integers(0, 200)))
def test_any_bytes_give_the_same_however_they_are_cut(decode: Decode, data: bytes, places: list[int]) -> None:
    assert outcome([data], decode) == outcome(cuts(data, places), decode)


@often
@given(wanted=st.lists(st.binary(min_size=1, max_size=LIMIT), max_size=8), places=st.lists(st.integers(0, 600)))
def test_any_frames_survive_any_cutting(wanted: list[bytes], places: list[int]) -> None:
    sent = [encode_frame(data[0], data[1:]) for data in wanted]
    buffer = FrameBuffer(LIMIT)
    received = [frame for piece in cuts(b"".join(sent), places) for frame in buffer.feed(piece)]
    assert received == sent
    assert len(buffer) == 0


@often
@given(length=st.integers(0, 0xFFFFFFFF), limit=st.integers(1, 0xFFFFFFFF))
def test_a_length_is_refused_at_once_exactly_if_it_is_out_of_bounds(length: int, limit: int) -> None:
    try:
        FrameBuffer(limit).feed(length.to_bytes(4, "big"))
    except RemoteProtocolError:
        assert not 1 <= length <= limit
    else:
        assert 1 <= length <= limit


@often
@given(code=codes, payload=payloads)
def test_what_is_decoded_encodes_to_the_same_bytes_or_to_bytes_of_the_same_meaning(code: int, payload: bytes) -> None:
    frame = encode_frame(code, payload)
    for decode, encode in ((decode_command, encode_command), (decode_reply, encode_reply)):
        try:
            message = decode(frame)
        except RemoteProtocolError:
            continue
        again = encode(message)
        if code in (Command.SMFIC_MACRO, Command.SMFIC_OPTNEG):
            assert encode(decode(again)) == again
        else:
            assert again == frame


@often
@given(data=st.binary(max_size=40))
def test_any_bytes_look_like_something(data: bytes) -> None:
    assert looks_like(data)


@often
@given(data=st.binary(max_size=200))
def test_any_bytes_are_shown_on_one_line_of_printable_ascii(data: bytes) -> None:
    line = shown(data)
    assert line.isascii()
    assert line.isprintable()
    assert len(line) <= 60 * 4 + 3


# ---- records

uint32 = st.integers(0, 0xFFFFFFFF)
parameters = st.lists(text, max_size=3).map(tuple)
maybe_text = st.one_of(st.none(), text)
chunks = st.binary(max_size=50)
macro_names = text.filter(lambda name: name[:1] != b"{")
listed_name = st.text("ij_{}\xe9", min_size=1, max_size=6).map(lambda name: name.encode("latin-1"))
listed_names = st.lists(listed_name, max_size=3).map(tuple)
macro_lists = st.dictionaries(st.sampled_from(MacroStage), listed_names, max_size=7)
known_clients = st.builds(
    commands.Connect,
    text,
    st.sampled_from((commands.FAMILY_UNIX, commands.FAMILY_INET, commands.FAMILY_INET6)),
    st.integers(0, 65535),
    text,
)
reply_texts = st.builds(
    lambda digit, code, rest: b"%c%02d%b" % (digit, code, rest), st.sampled_from(b"45"), st.integers(0, 99), text
)

COMMANDS: dict[object, st.SearchStrategy[CommandMessage]] = {
    OptionNegotiation: st.builds(OptionNegotiation, uint32, uint32, uint32),
    commands.Macro: st.builds(commands.Macro, st.integers(0, 255), st.dictionaries(macro_names, text, max_size=4)),
    commands.Connect: st.one_of(known_clients, st.builds(commands.Connect, text)),
    commands.Helo: st.builds(commands.Helo, text),
    commands.Mail: st.builds(commands.Mail, text, parameters),
    commands.Rcpt: st.builds(commands.Rcpt, text, parameters),
    commands.Data: st.builds(commands.Data),
    commands.Header: st.builds(commands.Header, text, text),
    commands.Eoh: st.builds(commands.Eoh),
    commands.Body: st.builds(commands.Body, st.binary(min_size=1, max_size=50)),
    commands.BodyEob: st.builds(commands.BodyEob, chunks),
    commands.Abort: st.builds(commands.Abort),
    commands.Quit: st.builds(commands.Quit),
    commands.QuitNc: st.builds(commands.QuitNc),
    commands.Unknown: st.builds(commands.Unknown, text),
}
REPLIES: dict[object, st.SearchStrategy[ReplyMessage]] = {
    replies.Continue: st.builds(replies.Continue),
    replies.Accept: st.builds(replies.Accept),
    replies.Reject: st.builds(replies.Reject),
    replies.TempFail: st.builds(replies.TempFail),
    replies.Discard: st.builds(replies.Discard),
    replies.ReplyCode: st.builds(replies.ReplyCode, reply_texts),
    replies.Skip: st.builds(replies.Skip),
    replies.Shutdown: st.builds(replies.Shutdown),
    replies.ConnFail: st.builds(replies.ConnFail),
    OptionNegotiation: st.builds(OptionNegotiation, uint32, uint32, uint32, macro_lists),
    replies.Progress: st.builds(replies.Progress),
    replies.AddHeader: st.builds(replies.AddHeader, text, text),
    replies.InsHeader: st.builds(replies.InsHeader, uint32, text, text),
    replies.ChgHeader: st.builds(replies.ChgHeader, uint32, text, text),
    replies.AddRcpt: st.builds(replies.AddRcpt, text),
    replies.AddRcptPar: st.builds(replies.AddRcptPar, text, maybe_text),
    replies.DelRcpt: st.builds(replies.DelRcpt, text),
    replies.ChgFrom: st.builds(replies.ChgFrom, text, maybe_text),
    replies.ReplBody: st.builds(replies.ReplBody, chunks),
    replies.Quarantine: st.builds(replies.Quarantine, text),
}
command_records = st.one_of(*COMMANDS.values())
reply_records = st.one_of(*REPLIES.values())


def test_every_record_is_tried() -> None:
    assert set(COMMANDS) == set(get_args(CommandMessage))
    assert set(REPLIES) == set(get_args(ReplyMessage))


@more_often
@given(message=command_records)
def test_any_command_comes_back_as_it_was(message: CommandMessage) -> None:
    assert decode_command(encode_command(message)) == message


@more_often
@given(message=reply_records)
def test_any_reply_comes_back_as_it_was(message: ReplyMessage) -> None:
    assert decode_reply(encode_reply(message)) == message


@often
@given(message=st.one_of(command_records, reply_records))
def test_equal_records_have_equal_hashes(message: object) -> None:
    twin = type(message)(*(getattr(message, name) for name in message.__dataclass_fields__))  # type: ignore[attr-defined]
    assert twin == message
    assert hash(twin) == hash(message)


@often
@given(messages=st.lists(command_records, max_size=8), places=st.lists(st.integers(0, 800)))
def test_any_conversation_survives_any_cutting(messages: list[CommandMessage], places: list[int]) -> None:
    buffer = FrameBuffer(1024)
    pieces = cuts(b"".join(map(encode_command, messages)), places)
    assert [decode_command(frame) for piece in pieces for frame in buffer.feed(piece)] == messages


@often
@given(lines=st.lists(text.map(lambda line: b"x" + line.translate(None, b"\r\n")), min_size=1, max_size=4))
def test_a_reply_that_follows_the_form_is_never_malformed(lines: list[bytes]) -> None:
    heads = [b"550-"] * (len(lines) - 1) + [b"550 "]
    assert malformed(ReplyCode(b"\r\n".join(head + line for head, line in zip(heads, lines)))) is None


@often
@given(value=uint32)
def test_the_names_of_any_flags_add_up_to_their_value(value: int) -> None:
    for flag_type in (ActionFlag, ProtocolFlag):
        words = [word for word in flag_names(flag_type, value).split("|") if word != "-"]
        assert sum(int(word, 16) if word.startswith("0x") else flag_type[word] for word in words) == value


@often
@given(wanted=st.lists(st.one_of(st.none(), macro_lists), max_size=4))
def test_a_merged_list_holds_all_that_any_child_asked_for(wanted: list[dict[MacroStage, tuple[bytes, ...]]]) -> None:
    merged = merge_macro_lists(wanted)
    for one in wanted:
        for stage, names in (one or {}).items():
            assert {braced(name) for name in names} <= set(merged.get(stage, ()))


@often
@given(lists=macro_lists)
def test_a_merged_list_merged_again_is_the_same(lists: dict[MacroStage, tuple[bytes, ...]]) -> None:
    merged = merge_macro_lists([lists])
    assert merge_macro_lists([merged]) == merged
