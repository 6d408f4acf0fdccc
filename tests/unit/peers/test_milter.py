"""The scriptable milter: it does what its behaviour says, writes down what it is told, and ends when it is told to."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from mmgr.endpoint import Endpoint
from mmgr.peers.behaviour import Behaviour, Delay, Hang, at_stages
from mmgr.peers.delivery import Status, deliver
from mmgr.peers.mail import Message
from mmgr.peers.milter import MilterPeer
from mmgr.peers.mta import MtaPeer, connect_peer
from mmgr.protocol.commands import Data, Helo, Mail, QuitNc
from mmgr.protocol.constants import ActionFlag, MacroStage, ProtocolFlag
from mmgr.protocol.options import OptionNegotiation
from mmgr.protocol.replies import Continue, Reject

from .conftest import Pair

LISTS = {MacroStage.SMFIM_EOM: (b"i",)}


@pytest.mark.parametrize(
    ("behaviour", "offered", "answer"),
    [
        (Behaviour(), OptionNegotiation(6, 0x1FF, 0x1FFFFF), OptionNegotiation(6, 0x1FF, 0)),
        (Behaviour(steps=0x500), OptionNegotiation(6, 1, 0x400), OptionNegotiation(6, 1, 0x400)),
        (Behaviour(version=4), OptionNegotiation(2, 0x3F, 0x7F), OptionNegotiation(2, 0x3F, 0)),
        (Behaviour(version=4), OptionNegotiation(6, 0, 0), OptionNegotiation(4, 0, 0)),
        (Behaviour(macro_lists=LISTS), OptionNegotiation(6, 0x1FF, 0), OptionNegotiation(6, 0x1FF, 0, LISTS)),
        (Behaviour(macro_lists=LISTS), OptionNegotiation(6, 0xFF, 0), OptionNegotiation(6, 0xFF, 0)),
        (
            Behaviour(version=7, actions=0xFFF, steps=1, is_blunt=True),
            OptionNegotiation(6, 0, 0),
            OptionNegotiation(7, 0xFFF, 1),
        ),
    ],
)
def test_the_answer_keeps_to_the_offer_unless_blunt(
    behaviour: Behaviour, offered: OptionNegotiation, answer: OptionNegotiation
) -> None:
    assert behaviour.answer_to(offered) == answer


def test_declined_and_misplaced_commands_are_noted(pair: Pair) -> None:
    milter = pair.behave(Behaviour(steps=ProtocolFlag.SMFIP_NOHELO))
    mta = pair.mta()
    mta.negotiate()
    mta.connect(b"mx")
    mta.send(Helo(b"mx"), Data(), Mail(b"<a@b>"))
    for _ in range(3):
        mta.read_reply()
    mta.quit()
    violations = milter.wait_for_end().violations
    assert violations == ["helo was sent though declined", "data after helo"]


def test_a_new_message_after_a_final_verdict_needs_no_abort(pair: Pair) -> None:
    milter = pair.behave(Behaviour(at=at_stages(data=Reject())))
    mta = pair.mta()
    mta.negotiate()
    mta.connect(b"mx")
    for _ in range(2):
        mta.mail(b"<a@b>")
        mta.rcpt(b"<c@d>")
        assert mta.data() == Reject()
    mta.quit()
    assert milter.wait_for_end().violations == []


def test_another_session_may_follow_on_the_connection(pair: Pair) -> None:
    milter = pair.behave(Behaviour())
    mta = pair.mta()
    mta.negotiate()
    mta.connect(b"one")
    mta.helo(b"one")
    mta.send(QuitNc())
    assert mta.connect(b"two") == Continue()
    mta.quit()
    assert milter.wait_for_end().violations == []


def test_many_sessions_are_served_at_once(pair: Pair) -> None:
    milter = pair.behave(Behaviour())
    mtas = [pair.mta() for _ in range(30)]
    for mta in mtas:
        mta.negotiate()
    assert [greet(mta) for mta in reversed(mtas)] == [Continue()] * 30
    assert milter.count == 30


def greet(mta: MtaPeer) -> object:
    return mta.helo(b"mx")


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.0\r\n\r\n", b"\0\0\0\0", b"\xff" * 9, b"\0\0\0\x01?", b"\0\0\0\x02Hx"]
)
def test_garbage_ends_its_connection_and_no_other(pair: Pair, garbage: bytes) -> None:
    milter = pair.behave(Behaviour())
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(pair.endpoint.path)
        stranger.sendall(garbage)
        stranger.settimeout(30)
        assert stranger.recv(100) == b""
    assert milter.wait_for_end().ended.startswith("protocol error")
    assert deliver(pair.mta(), [Message()])[0].status is Status.ACCEPT


@pytest.mark.parametrize("action", [Hang(), Delay(3600.0)])
def test_stopping_ends_sessions_that_wait(tmp_path: Path, action: Hang | Delay) -> None:
    endpoint = Endpoint("unix", path=str(tmp_path / "s"))
    with MilterPeer(endpoint, Behaviour(at=at_stages(helo=action))) as milter:
        mta = connect_peer(endpoint)
        mta.negotiate()
        mta.send(Helo(b"mx"))
        milter.wait_until(lambda: Helo(b"mx") in milter.sessions[0].commands)
    assert milter.sessions[0].ended == "stopped"
    assert not Path(endpoint.path).exists()
    mta.close()


def test_stopping_cuts_idle_sessions(tmp_path: Path) -> None:
    endpoint = Endpoint("unix", path=str(tmp_path / "s"))
    with MilterPeer(endpoint) as milter:
        mta = connect_peer(endpoint)
        mta.negotiate()
    assert milter.sessions[0].ended == "closed"
    mta.close()


def test_a_hanging_session_ends_when_the_mta_goes(pair: Pair) -> None:
    milter = pair.behave(Behaviour(at=at_stages(helo=Hang())))
    mta = pair.mta()
    mta.negotiate()
    mta.send(Helo(b"mx"))
    milter.wait_until(lambda: Helo(b"mx") in milter.sessions[0].commands)
    mta.close()
    assert milter.wait_for_end().ended == "closed"


def test_serving_ends_when_a_watched_descriptor_can_be_read(tmp_path: Path) -> None:
    life, parent = os.pipe()
    milter = MilterPeer(Endpoint("unix", path=str(tmp_path / "s")))
    milter.listen()
    serving = threading.Thread(target=milter.serve, args=(life,))
    serving.start()
    os.close(parent)
    serving.join(30)
    assert not serving.is_alive()
    milter.stop()
    os.close(life)


def test_it_listens_on_tcp_too() -> None:
    with MilterPeer(Endpoint("inet", host="127.0.0.1", port=0), Behaviour(actions=ActionFlag.SMFIF_ADDHDRS)) as milter:
        with connect_peer(milter.endpoint) as mta:
            assert mta.negotiate().actions == ActionFlag.SMFIF_ADDHDRS
