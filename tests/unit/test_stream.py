"""FrameStream over real sockets: frames, deadlines, patience, peers that go or do not read; and connecting.

No test measures how long something took: a deadline of the past and an end in an exception say enough.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgr.connecting import connect
from mmgr.endpoint import Endpoint
from mmgr.errors import PeerClosed, PeerTimeout, PeerTruncated
from mmgr.protocol.errors import RemoteProtocolError
from mmgr.protocol.framing import encode_frame
from mmgr.stream import FRAMES_PER_WRITE, FrameStream

LIMIT = 1 << 20
ABORT = encode_frame(ord("A"))
HELO = encode_frame(ord("H"), b"client.example\0")
BODY = encode_frame(ord("B"), b"x" * 65535)
PAST = -1.0
"""A point of the monotonic clock that is over."""


def soon() -> float:
    """A deadline that a test waits for on purpose."""
    return time.monotonic() + 0.05


def late() -> float:
    """A deadline that no test should ever reach."""
    return time.monotonic() + 30


class Pair:
    """Our end as a stream, and the peer's as a bare socket."""

    def __init__(self, ours: socket.socket, peer: socket.socket) -> None:
        self.stream = FrameStream(ours, LIMIT)
        self.peer = peer
        self.peer.settimeout(30)

    def peer_reads(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.peer.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data

    def close(self) -> None:
        self.stream.close()
        self.peer.close()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.create_connection(listener.getsockname())
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        return ours, listener.accept()[0]


@pytest.fixture(params=["unix", "tcp"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A connected pair, once over a unix socket and once over TCP."""
    made = Pair(*(socket.socketpair() if request.param == "unix" else tcp_pair()))
    yield made
    made.close()


@pytest.fixture
def unix_pair() -> Iterator[Pair]:
    """A connected pair whose buffers are small, so that a peer that does not read is felt soon."""
    ours, peer = socket.socketpair()
    for end in (ours, peer):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    made = Pair(ours, peer)
    yield made
    made.close()


# ---- reading


def test_a_frame_that_was_sent_is_read(pair: Pair) -> None:
    pair.peer.sendall(HELO)
    assert pair.stream.read(late()) == HELO


def test_frames_of_one_write_are_read_one_by_one(pair: Pair) -> None:
    pair.peer.sendall(ABORT + HELO + BODY + ABORT)
    assert [pair.stream.read(late()) for _ in range(4)] == [ABORT, HELO, BODY, ABORT]


def test_a_frame_that_comes_in_pieces_is_read_whole(pair: Pair) -> None:
    pieces = iter([HELO[:3], HELO[3:9], HELO[9:]])
    pair.peer.sendall(next(pieces))
    read = pair.stream.read(None, patience=lambda: pair.peer.sendall(next(pieces)), tick_s=0.001)
    assert read == HELO


def test_after_a_read_it_is_known_whether_more_is_there(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(ABORT + HELO)
    assert not unix_pair.stream.has_frame()
    unix_pair.stream.read(late())
    assert unix_pair.stream.has_frame()
    unix_pair.stream.read(late())
    assert not unix_pair.stream.has_frame()


def test_a_read_without_an_answer_ends_at_its_deadline(pair: Pair) -> None:
    with pytest.raises(PeerTimeout):
        pair.stream.read(soon())


def test_a_read_whose_deadline_is_over_does_not_wait(pair: Pair) -> None:
    with pytest.raises(PeerTimeout):
        pair.stream.read(PAST)


def test_half_a_frame_is_no_answer(pair: Pair) -> None:
    pair.peer.sendall(HELO[:-1])
    with pytest.raises(PeerTimeout):
        pair.stream.read(soon())


def test_what_is_there_already_is_read_though_the_deadline_is_over(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(ABORT + HELO)
    assert [unix_pair.stream.read(PAST), unix_pair.stream.read(PAST)] == [ABORT, HELO]


def test_after_a_deadline_the_rest_of_a_frame_is_still_taken(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(HELO[:6])
    with pytest.raises(PeerTimeout):
        unix_pair.stream.read(soon())
    unix_pair.peer.sendall(HELO[6:])
    assert unix_pair.stream.read(late()) == HELO


# ---- patience


def test_patience_is_asked_for_while_nothing_comes(pair: Pair) -> None:
    ticks = []

    def patience() -> None:
        ticks.append(1)
        if len(ticks) == 3:
            pair.peer.sendall(ABORT)

    assert pair.stream.read(None, patience, tick_s=0.001) == ABORT
    assert len(ticks) == 3


def test_no_patience_is_asked_for_if_something_is_there(pair: Pair) -> None:
    pair.peer.sendall(ABORT)
    ticks: list[int] = []
    assert pair.stream.read(late(), lambda: ticks.append(1), tick_s=10) == ABORT
    assert ticks == []


def test_patience_does_not_move_the_deadline(pair: Pair) -> None:
    ticks: list[int] = []
    with pytest.raises(PeerTimeout):
        pair.stream.read(soon(), lambda: ticks.append(1), tick_s=0.001)
    assert ticks


def test_no_patience_is_asked_for_at_the_deadline(pair: Pair) -> None:
    ticks: list[int] = []
    with pytest.raises(PeerTimeout):
        pair.stream.read(soon(), lambda: ticks.append(1), tick_s=10)
    assert ticks == []


def test_what_patience_raises_ends_the_read(pair: Pair) -> None:
    def lost() -> None:
        raise KeyError("the MTA is gone")

    with pytest.raises(KeyError):
        pair.stream.read(None, lost, tick_s=0.001)


def test_patience_may_close_the_stream(pair: Pair) -> None:
    with pytest.raises(PeerClosed):
        pair.stream.read(late(), pair.stream.close, tick_s=0.001)


# ---- the peer ends


def test_the_end_of_the_stream_is_told(pair: Pair) -> None:
    pair.peer.close()
    with pytest.raises(PeerClosed, match="connection closed"):
        pair.stream.read(late())


def test_frames_ahead_of_the_end_are_read_first(pair: Pair) -> None:
    pair.peer.sendall(ABORT + HELO)
    pair.peer.close()
    assert [pair.stream.read(late()), pair.stream.read(late())] == [ABORT, HELO]
    with pytest.raises(PeerClosed):
        pair.stream.read(late())


@pytest.mark.parametrize("size", [1, 3, 4, 5, len(HELO) - 1])
def test_the_end_in_the_middle_of_a_frame_is_told_as_such(unix_pair: Pair, size: int) -> None:
    unix_pair.peer.sendall(ABORT + HELO[:size])
    unix_pair.peer.close()
    assert unix_pair.stream.read(late()) == ABORT
    with pytest.raises(PeerTruncated, match="in the middle of a packet"):
        unix_pair.stream.read(late())


def test_the_end_between_frames_is_not_in_the_middle(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(ABORT)
    unix_pair.peer.close()
    unix_pair.stream.read(late())
    with pytest.raises(PeerClosed) as closed:
        unix_pair.stream.read(late())
    assert not isinstance(closed.value, PeerTruncated)


def test_a_connection_that_is_reset_is_closed() -> None:
    ours, peer = tcp_pair()
    pair = Pair(ours, peer)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(PeerClosed):
        pair.stream.read(late())
    pair.close()


def test_the_end_is_told_again_and_again(pair: Pair) -> None:
    pair.peer.close()
    for _ in range(2):
        with pytest.raises(PeerClosed):
            pair.stream.read(late())


# ---- what no peer may send


@pytest.mark.parametrize("length", [0, LIMIT + 1, 0xFFFFFFFF])
def test_a_length_that_is_not_allowed_is_refused_without_waiting(pair: Pair, length: int) -> None:
    pair.peer.sendall(length.to_bytes(4, "big"))
    with pytest.raises(RemoteProtocolError):
        pair.stream.read(None)


def test_frames_ahead_of_a_bad_length_are_read_and_then_it_is_refused_without_waiting(pair: Pair) -> None:
    pair.peer.sendall(ABORT + HELO + b"GET / HTTP/1.0\r\n\r\n")
    assert [pair.stream.read(late()), pair.stream.read(late())] == [ABORT, HELO]
    assert pair.stream.has_frame()
    with pytest.raises(RemoteProtocolError, match="an HTTP request"):
        pair.stream.read(None)


# ---- writing


def test_frames_are_written_in_their_order(pair: Pair) -> None:
    pair.stream.write([ABORT, HELO, ABORT], late())
    assert pair.peer_reads(len(ABORT + HELO + ABORT)) == ABORT + HELO + ABORT


def test_no_frames_are_no_bytes(pair: Pair) -> None:
    pair.stream.write([], PAST)
    pair.stream.write([ABORT], late())
    assert pair.peer_reads(len(ABORT)) == ABORT


@pytest.mark.parametrize(
    "count", [FRAMES_PER_WRITE - 1, FRAMES_PER_WRITE, FRAMES_PER_WRITE + 1, 2 * FRAMES_PER_WRITE + 1]
)
def test_more_frames_than_fit_one_write_all_arrive(unix_pair: Pair, count: int) -> None:
    frames = [encode_frame(ord("L"), b"X-%d\0v\0" % number) for number in range(count)]
    writer = threading.Thread(target=unix_pair.stream.write, args=(frames, late()))
    writer.start()
    received = unix_pair.peer_reads(len(b"".join(frames)))
    writer.join()
    assert received == b"".join(frames)


def test_more_than_the_kernel_takes_at_once_all_arrives(pair: Pair) -> None:
    frames = [BODY] * 40
    writer = threading.Thread(target=pair.stream.write, args=(frames, late()))
    writer.start()
    received = pair.peer_reads(len(BODY) * 40)
    writer.join()
    assert received == BODY * 40


def test_a_peer_that_does_not_read_ends_a_write_at_its_deadline(pair: Pair) -> None:
    with pytest.raises(PeerTimeout):
        pair.stream.write([BODY] * 400, soon())


def test_a_peer_that_does_not_read_ends_a_write_whose_deadline_is_over(unix_pair: Pair) -> None:
    with pytest.raises(PeerTimeout):
        unix_pair.stream.write([BODY], PAST)


def test_a_write_to_a_peer_that_is_gone_is_refused(pair: Pair) -> None:
    pair.peer.close()
    with pytest.raises(PeerClosed):
        pair.stream.write([BODY] * 100, late())


def test_what_a_peer_said_before_it_went_is_read_after_a_write_failed(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(HELO)
    unix_pair.peer.close()
    with pytest.raises(PeerClosed):
        unix_pair.stream.write([BODY], late())
    assert unix_pair.stream.read(late()) == HELO


def echo(pair: Pair, count: int) -> None:
    """A peer like libmilter: answers each frame before it takes the next, and waits where its answers are not read."""
    for _ in range(count):
        head = pair.peer_reads(5)
        pair.peer_reads(int.from_bytes(head[:4], "big") - 1)
        pair.peer.sendall(encode_frame(ord("c")))


def test_a_peer_that_waits_for_its_replies_to_be_read_does_not_stall_a_write(unix_pair: Pair) -> None:
    frames = [encode_frame(ord("L"), b"X-Number\0%d\0" % number) for number in range(2000)]
    peer = threading.Thread(target=echo, args=(unix_pair, len(frames)))
    peer.start()
    unix_pair.stream.write(frames, late())
    replies = [unix_pair.stream.read(late()) for _ in frames]
    peer.join()
    assert replies == [encode_frame(ord("c"))] * len(frames)


def test_a_peer_that_says_all_it_has_to_say_can_still_be_written_to(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(ABORT)
    unix_pair.peer.shutdown(socket.SHUT_WR)
    received: list[bytes] = []
    size = len(BODY) * 4
    reader = threading.Thread(target=lambda: received.append(unix_pair.peer_reads(size)))
    reader.start()
    unix_pair.stream.write([BODY] * 4, late())
    reader.join()
    assert received == [BODY * 4]
    assert unix_pair.stream.read(late()) == ABORT
    with pytest.raises(PeerClosed):
        unix_pair.stream.read(late())


class CountingStream(FrameStream):
    """Counts how often it is read from."""

    reads = 0

    def _receive(self, wait_s: float) -> bytes:
        self.reads += 1
        return super()._receive(wait_s)


def test_the_end_of_what_a_peer_says_is_found_once_while_a_write_waits() -> None:
    ours, peer = socket.socketpair()
    peer.shutdown(socket.SHUT_WR)
    stream = CountingStream(ours, LIMIT)
    with pytest.raises(PeerTimeout):
        stream.write([BODY] * 100, soon())
    assert stream.reads == 1
    stream.close()
    peer.close()


def test_a_peer_that_sends_rubbish_instead_of_reading_ends_a_write(unix_pair: Pair) -> None:
    unix_pair.peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="an HTTP response"):
        unix_pair.stream.write([BODY], late())


# ---- farewells


def test_a_farewell_is_sent_if_the_peer_takes_it(pair: Pair) -> None:
    assert pair.stream.write_patiently([ABORT, HELO]) is True
    assert pair.peer_reads(len(ABORT + HELO)) == ABORT + HELO


def test_a_farewell_to_a_peer_that_does_not_read_is_given_up(unix_pair: Pair) -> None:
    while unix_pair.stream.write_patiently([BODY]):
        pass
    assert unix_pair.stream.write_patiently([ABORT] * 10_000) is False


def test_a_farewell_to_a_peer_that_is_gone_is_given_up(unix_pair: Pair) -> None:
    unix_pair.peer.close()
    assert unix_pair.stream.write_patiently([ABORT]) is False


# ---- our own end


def test_a_stream_has_the_descriptor_of_its_socket_until_it_is_closed(unix_pair: Pair) -> None:
    assert os.fstat(unix_pair.stream.fileno())
    unix_pair.stream.close()
    assert unix_pair.stream.fileno() == -1


def test_closing_twice_is_allowed(pair: Pair) -> None:
    pair.stream.close()
    pair.stream.close()


def test_a_closed_stream_is_not_read(pair: Pair) -> None:
    pair.peer.sendall(ABORT + HELO)
    pair.stream.read(late())
    pair.stream.close()
    assert not pair.stream.has_frame()
    with pytest.raises(PeerClosed):
        pair.stream.read(None)


def test_a_closed_stream_does_not_wait_for_the_next_owner_of_its_descriptor(unix_pair: Pair) -> None:
    number = unix_pair.stream.fileno()
    unix_pair.stream.close()
    other = socket.socketpair()
    assert number in {end.fileno() for end in other}
    with pytest.raises(PeerClosed):
        unix_pair.stream.read(None)
    for end in other:
        end.close()


def test_a_closed_stream_is_not_written(pair: Pair) -> None:
    pair.stream.close()
    with pytest.raises(PeerClosed):
        pair.stream.write([ABORT], late())
    assert pair.stream.write_patiently([ABORT]) is False


def test_the_peer_sees_the_end_when_the_stream_is_closed(pair: Pair) -> None:
    pair.stream.close()
    assert pair.peer.recv(1) == b""


def test_tcp_does_not_wait_to_fill_its_packets() -> None:
    pair = Pair(*tcp_pair())
    with socket.socket(fileno=os.dup(pair.stream.fileno())) as twin:
        assert twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    pair.close()


# ---- connecting


def test_a_unix_socket_is_connected(tmp_path: Path) -> None:
    path = str(tmp_path / "child.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)
        stream = connect(Endpoint("unix", path=path), late(), LIMIT)
        stream.write([ABORT], late())
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(100) == ABORT
        stream.close()


def test_a_tcp_socket_is_connected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stream = connect(Endpoint("inet", host="127.0.0.1", port=port), late(), LIMIT)
        accepted, _ = listener.accept()
        with accepted:
            accepted.sendall(ABORT)
        assert stream.read(late()) == ABORT
        stream.close()


def test_a_unix_socket_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PeerClosed, match="No such file"):
        connect(Endpoint("unix", path=str(tmp_path / "none.sock")), late(), LIMIT)


def test_a_unix_socket_that_nobody_listens_on_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "stale.sock")
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(path)
    with pytest.raises(PeerClosed, match="refused"):
        connect(Endpoint("unix", path=path), late(), LIMIT)


def test_a_port_that_nobody_listens_on_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(PeerClosed, match="refused"):
        connect(Endpoint("inet", host="127.0.0.1", port=port), late(), LIMIT)


def test_a_unix_socket_whose_backlog_is_full_is_tried_until_the_deadline(tmp_path: Path) -> None:
    path = str(tmp_path / "busy.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(PeerTimeout):
            connect(Endpoint("unix", path=path), soon(), LIMIT)


def test_a_unix_socket_whose_backlog_has_room_again_is_connected(tmp_path: Path) -> None:
    path = str(tmp_path / "busy.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        accepted: list[socket.socket] = []
        relief = threading.Timer(0.05, lambda: accepted.append(listener.accept()[0]))
        relief.start()
        connect(Endpoint("unix", path=path), late(), LIMIT).close()
        relief.join()
        accepted[0].close()


def test_a_connection_whose_deadline_is_over_is_not_tried(tmp_path: Path) -> None:
    with pytest.raises(PeerTimeout):
        connect(Endpoint("unix", path=str(tmp_path / "none.sock")), PAST, LIMIT)
