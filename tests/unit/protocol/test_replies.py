"""Replies: what the vectors can't show, and the texts that some MTA would choke on."""

from __future__ import annotations

import pytest

from mmgr.protocol.commands import Abort
from mmgr.protocol.constants import ActionFlag
from mmgr.protocol.errors import LocalProtocolError
from mmgr.protocol.replies import (
    NEEDED_ACTION,
    AddHeader,
    AddRcpt,
    AddRcptPar,
    ChgFrom,
    ChgHeader,
    DelRcpt,
    InsHeader,
    Quarantine,
    ReplBody,
    ReplyCode,
    ReplyMessage,
    decode_reply,
    encode_reply,
    malformed,
)

NOT_TO_BE_SENT = {
    "a NUL in a text": ReplyCode(b"550 a\0b"),
    "a NUL in a header's name": AddHeader(b"a\0", b"b"),
    "a NUL in a header's value": ChgHeader(1, b"a", b"b\0c"),
    "an index below 0": InsHeader(-1, b"a", b"b"),
    "an index that does not fit": ChgHeader(1 << 32, b"a", b"b"),
    "a NUL in a recipient": AddRcpt(b"\0"),
    "a NUL in parameters": AddRcptPar(b"<a@b>", b"NOTIFY=NEVER\0ORCPT=x"),
    "a NUL in a sender": ChgFrom(b"<a\0b>"),
    "a NUL in a reason": Quarantine(b"a\0"),
}


@pytest.mark.parametrize("message", NOT_TO_BE_SENT.values(), ids=list(NOT_TO_BE_SENT))
def test_what_must_not_be_sent_is_our_own_fault(message: ReplyMessage) -> None:
    with pytest.raises(LocalProtocolError):
        encode_reply(message)


def test_a_command_is_no_reply() -> None:
    with pytest.raises(LocalProtocolError, match="no such reply: Abort"):
        encode_reply(Abort())  # type: ignore[arg-type]


def test_half_a_frame_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError):
        decode_reply(b"\0\0\0\x02c")


def test_each_edit_needs_its_action() -> None:
    needed = {
        AddHeader: ActionFlag.SMFIF_ADDHDRS,
        InsHeader: ActionFlag.SMFIF_ADDHDRS,
        ChgHeader: ActionFlag.SMFIF_CHGHDRS,
        AddRcpt: ActionFlag.SMFIF_ADDRCPT,
        AddRcptPar: ActionFlag.SMFIF_ADDRCPT_PAR,
        DelRcpt: ActionFlag.SMFIF_DELRCPT,
        ChgFrom: ActionFlag.SMFIF_CHGFROM,
        ReplBody: ActionFlag.SMFIF_CHGBODY,
        Quarantine: ActionFlag.SMFIF_QUARANTINE,
    }
    assert needed == NEEDED_ACTION


@pytest.mark.parametrize(("text", "is_permanent"), [(b"550 no", True), (b"500", True), (b"450 no", False)])
def test_a_reply_code_is_permanent_if_it_begins_with_5(text: bytes, is_permanent: bool) -> None:
    assert ReplyCode(text).is_permanent is is_permanent


# ---- malformed: (text, a word of the complaint or None)

TEXTS = [
    (b"550 5.7.1 no", None),
    (b"450 4.7.1 later", None),
    (b"421 4.7.0 bye", None),
    (b"550 no", None),
    (b"550 ", None),
    (b"550 5.7.1 ", None),
    (b"550 5", None),
    (b"550 5 tries were too many", None),
    (b"550  4 tries", None),
    (b"550 100% sure", "another class"),
    (b"550 5.7.1 100% sure, 100%% sure", None),
    (b"550 5.7.1 caf\xc3\xa9 caf\xe9", None),
    (b"550-5.7.1 one\r\n550 5.7.1 two", None),
    (b"550-one\r\n550-\r\n550 three", None),
    (b"550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three", None),
    (b"550", "line 1 has nothing where ' ' belongs"),
    (b"5500 no", "line 1 has 0 where ' ' belongs"),
    (b"550_no", "line 1 has _ where ' ' belongs"),
    (b"550-no", "line 1 has - where ' ' belongs"),
    (b"550\tno", "line 1 has \\t where ' ' belongs"),
    (b"550 one\r\n550 two", "line 1 has   where '-' belongs"),
    (b"550-one\r\n550-two", "line 2 has - where ' ' belongs"),
    (b"550-one\r\n550", "line 2 has nothing where ' ' belongs"),
    (b"550-one\r\n551 two", "line 2 does not begin with 550"),
    (b"550-one\r\n450 two", "line 2 does not begin with 550"),
    (b"550-one\r\n", "line 2 does not begin with 550"),
    (b"550-one\r\n\r\n550 three", "line 2 does not begin with 550"),
    (b"550 one\r\n", "line 1 has   where '-' belongs"),
    (b"550-one\r\ntwo", "line 2 does not begin with 550"),
    (b"550-one\n550 two", "line 1 has - where ' ' belongs"),
    (b"550 one\n550 two", "line 1 has a bare CR or LF"),
    (b"550 one\rtwo", "line 1 has a bare CR or LF"),
    (b"550 one\n", "line 1 has a bare CR or LF"),
    (b"550-one\ra\r\n550 two", "line 1 has a bare CR or LF"),
    (b"550 4.7.1 no", "another class"),
    (b"450 5.7.1 no", "another class"),
    (b"550 2.0.0 fine", "another class"),
    (b"550 4 tries left", "another class"),
    (b"451 30 seconds", "another class"),
    (b"550-5.7.1 one\r\n550 4.7.1 two", "line 2 begins its text with a digit of another class"),
]


@pytest.mark.parametrize(("text", "complaint"), TEXTS, ids=[repr(text)[2:-1] for text, _ in TEXTS])
def test_a_text_that_some_mta_would_take_amiss_is_found(text: bytes, complaint: str | None) -> None:
    found = malformed(ReplyCode(text))
    assert (found is None) == (complaint is None), found
    assert (complaint or "") in (found or "")


@pytest.mark.parametrize("text", [text for text, _ in TEXTS], ids=repr)
def test_a_text_that_some_mta_would_take_amiss_is_still_decoded(text: bytes) -> None:
    assert decode_reply(encode_reply(ReplyCode(text))) == ReplyCode(text)
