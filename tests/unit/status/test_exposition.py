"""/metrics by HTTP over real sockets: what is answered, and whoever is slow, strange or one too many."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.errors import ControlUnanswered
from mmgr.status.exposition import HEAD_BYTES_MAX, PLACES, Exposition, judge
from tests.support.processes import wait_for

TEXT = b"milter_manager_sessions_total 7.0\n"
PATIENCE_S = 20.0


class Page:
    """Serves in a thread what ``text`` is; None is a daemon that does not answer."""

    def __init__(self, path: Path, ask_s: float) -> None:
        self.text: bytes | None = TEXT
        self.path = str(path)
        self._is_over = False
        self._exposition = Exposition(self._render, "text/plain; version=0.0.4", ask_s)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen(64)
        self._listening.setblocking(False)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _render(self) -> bytes:
        if self.text is None:
            raise ControlUnanswered("the daemon does not answer")
        return self.text

    def _serve(self) -> None:
        while not self._is_over:
            if select.select([self._listening], [], [], 0.02)[0]:
                self._exposition.take(self._listening)

    def close(self) -> None:
        self._is_over = True
        self._thread.join(PATIENCE_S)
        self._listening.close()

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(PATIENCE_S)
        made.connect(self.path)
        return made

    def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Head and body of the answer."""
        with self.connect() as connection:
            connection.sendall(request)
            head, _, body = everything(connection).partition(b"\r\n\r\n")
            return head, body


def everything(connection: socket.socket) -> bytes:
    """All until the other end closes."""
    received = b""
    while True:
        try:
            chunk = connection.recv(65536)
        except ConnectionResetError:
            return received
        if not chunk:
            return received
        received += chunk


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    made = Page(tmp_path / "m.sock", ask_s=PATIENCE_S)
    yield made
    made.close()


def get(path: bytes = b"/metrics", method: bytes = b"GET") -> bytes:
    return method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"


def test_the_metrics_are_given_with_their_type_and_length(page: Page) -> None:
    head, body = page.ask(get())
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain; version=0.0.4",
        b"Content-Length: %d" % len(TEXT),
        b"Connection: close",
    ]
    assert body == TEXT


def test_a_query_behind_the_path_changes_nothing(page: Page) -> None:
    assert page.ask(get(b"/metrics?x=1"))[1] == TEXT


def test_a_head_is_given_without_the_metrics(page: Page) -> None:
    head, body = page.ask(get(method=b"HEAD"))
    assert (head.split(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(b"/"), b"404 Not Found"),
        (get(b"/metrics/../x"), b"404 Not Found"),
        (get(method=b"POST"), b"405 Method Not Allowed"),
        (get(method=b"DELETE"), b"405 Method Not Allowed"),
        (b"EHLO localhost\r\n\r\n", b"400 Bad Request"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"GET /metrics HTTP/1.1\r\nX: " + b"x" * HEAD_BYTES_MAX + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
    ],
)
def test_nothing_else_is_answered(page: Page, request_: bytes, status: bytes) -> None:
    head, body = page.ask(request_)
    assert head.startswith(b"HTTP/1.1 " + status)
    assert TEXT not in body


def test_a_method_that_is_not_allowed_is_told_which_are(page: Page) -> None:
    assert b"\r\nAllow: GET, HEAD\r\n" in page.ask(get(method=b"POST"))[0]


def test_without_the_daemon_there_is_a_reason_in_place_of_metrics(page: Page) -> None:
    page.text = None
    head, body = page.ask(get())
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert body == b"the daemon does not answer\n"


def test_a_request_in_many_pieces_is_one(page: Page) -> None:
    with page.connect() as connection:
        for number in get():
            connection.sendall(bytes((number,)))
        assert everything(connection).endswith(TEXT)


def test_a_large_page_arrives_whole(page: Page) -> None:
    page.text = b"x" * 5_000_000
    assert page.ask(get())[1] == page.text


def test_whoever_leaves_in_the_middle_disturbs_nobody(page: Page) -> None:
    page.text = b"x" * 5_000_000
    for _ in range(3 * PLACES):
        with page.connect() as connection:
            connection.sendall(get())
    page.text = TEXT
    assert page.ask(get())[1] == TEXT


def test_silent_ones_make_room_for_one_who_asks(page: Page) -> None:
    with ExitStack() as held:
        for _ in range(3 * PLACES):
            held.enter_context(page.connect())
        assert page.ask(get())[1] == TEXT


def test_so_many_are_served_at_a_time_and_no_more(page: Page) -> None:
    with ExitStack() as held:
        silent = [held.enter_context(page.connect()) for _ in range(3 * PLACES)]

        def parted_with() -> bool:
            return len(select.select(silent, [], [], 0)[0]) == 2 * PLACES

        wait_for(parted_with, "the end of those that are too many")


@pytest.mark.parametrize("request_", [b"", b"GET /metrics HT"])
def test_one_who_does_not_go_on_is_dropped(tmp_path: Path, request_: bytes) -> None:
    page = Page(tmp_path / "m.sock", ask_s=0.1)
    with page.connect() as connection:
        connection.sendall(request_)
        assert everything(connection) == b""
    page.close()


def test_one_who_drips_is_dropped_at_the_same_deadline(tmp_path: Path) -> None:
    page = Page(tmp_path / "m.sock", ask_s=0.2)
    with page.connect() as connection:

        def is_dropped() -> bool:
            try:
                connection.sendall(b"x")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        wait_for(is_dropped, "the end of a connection that drips")
    page.close()


@given(st.binary(max_size=300))
def test_only_a_get_of_the_metrics_is_given_them(head: bytes) -> None:
    status, _ = judge(head)
    if status == 200:
        assert head.startswith((b"GET /metrics", b"HEAD /metrics"))
