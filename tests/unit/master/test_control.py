"""The control sockets in a loop of the test's own: who may ask what, and peers that are slow, hostile or gone.

The sockets and their peers are real, the clock and the master are not.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import stat
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import pytest

from mmgr.config.model import Config, ControllerSettings, Origin
from mmgr.control import ERRORS_MAX, REQUEST_BYTES_MAX
from mmgr.endpoint import Endpoint
from mmgr.errors import ListenError, PrivilegeError
from mmgr.master.control import PLACES, REST_S, Control
from mmgr.master.controlpeer import ANSWER_S, REQUEST_S
from mmgr.master.overrides import Change, Override
from mmgr.master.results import OnResult, ReloadResult

ORDERS = ("reload", "stop", "enable", "disable", "evaluate", "reset")
BIG = 4_000_000


class Master:
    """A loop, and what the control sockets may ask for. Reloads and changes are answered by the test."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.poll = select.poll()
        self.registered: dict[int, Callable[[int], None]] = {}
        self.waiting: list[OnResult] = []
        self.changes: list[Change] = []
        self.closed: list[str] = []
        self.stops = 0
        self.snapshots = 0
        self.filler = ""

    def register(self, descriptor: int, on_ready: Callable[[int], None], events: int = select.POLLIN) -> None:
        self.registered[descriptor] = on_ready
        self.poll.register(descriptor, events)

    def unregister(self, descriptor: int) -> None:
        if self.registered.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)

    def snapshot(self) -> dict[str, Any]:
        self.snapshots += 1
        return {"sessions": 7, "last_reload": None, "workers": [{"worker": 1, "filler": self.filler}]}

    def milters(self) -> list[dict[str, Any]]:
        return [{"milter": "a"}]

    def metrics(self) -> dict[str, Any]:
        return {"generation": 3}

    def request_reload(self, on_result: OnResult) -> None:
        self.waiting.append(on_result)

    def close_breaker(self, child: str) -> None:
        self.closed.append(child)

    def request_change(self, change: Change, on_result: OnResult) -> None:
        self.changes.append(change)
        self.waiting.append(on_result)

    def stop(self) -> None:
        self.stops += 1


class House:
    """Master, control sockets and the test's ends of connections."""

    def __init__(self, directory: Path, **settings: object) -> None:
        self.admin = str(directory / "admin.sock")
        self.reading = str(directory / "reading.sock")
        self.master = Master()
        self.control = Control(lambda: self.master.now)
        self.config = self.configured(**settings)
        self.peers: list[socket.socket] = []
        self.control.open(self.config, None)
        self.control.attach(self.master)

    def configured(self, **settings: object) -> Config:
        records = {
            "connection_spec": Endpoint("unix", path=self.admin),
            "read_only_connection_spec": Endpoint("unix", path=self.reading),
            **settings,
        }
        origins = {"controller.connection_spec": Origin("f:1", "f", 1)}
        return Config(controller=ControllerSettings(**records), origins=origins)  # type: ignore[arg-type]

    def turn(self, times: int = 3) -> None:
        """Some rounds of the loop."""
        for _ in range(times):
            for descriptor, events in self.master.poll.poll(0):
                on_ready = self.master.registered.get(descriptor)
                if on_ready is not None:
                    on_ready(events)
            self.control.act()

    def connect(self, path: str = "") -> socket.socket:
        peer = socket.socket(socket.AF_UNIX)
        peer.setblocking(False)
        peer.connect(path or self.admin)
        self.peers.append(peer)
        return peer

    def send(self, peer: socket.socket, **request: object) -> None:
        peer.sendall(json.dumps(request).encode() + b"\n")
        self.turn()

    def ask(self, path: str = "", **request: object) -> dict[str, Any]:
        with self.connect(path) as peer:
            self.send(peer, **request)
            return answer_on(peer)

    def flood(self, peer: socket.socket, line: bytes) -> None:
        """Send until nothing more is taken; the peer reads none of the answers."""
        with suppress(BlockingIOError):
            while peer.send(line * 100):
                self.turn(1)

    def sockets(self) -> int:
        """How many descriptors the loop looks at beside the two listening ones."""
        return len(self.master.registered) - 2

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.control.close()


def answer_on(peer: socket.socket) -> dict[str, Any]:
    """The one answer that has come."""
    (line,) = received(peer).splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def received(peer: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            chunk = peer.recv(1_000_000)
        except (BlockingIOError, ConnectionResetError):
            return data
        if not chunk:
            return data
        data += chunk


def is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1_000_000) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


# ---- requests


def test_the_status_has_no_workers_in_it(house: House) -> None:
    result = house.ask(request="status")["result"]
    assert result["sessions"] == 7
    assert "workers" not in result
    assert {"pid", "program_version", "uptime_s", "monotonic_s"} <= set(result)


def test_workers_and_milters_are_lists(house: House) -> None:
    assert house.ask(request="workers")["result"]["workers"] == [{"worker": 1, "filler": ""}]
    assert house.ask(request="milters")["result"]["milters"] == [{"milter": "a"}]


def test_an_answer_has_the_version_of_the_language(house: House) -> None:
    assert house.ask(request="status", version=1)["version"] == 1


@pytest.mark.parametrize("version", [2, 0, "1", None, [1], 10**30])
def test_another_version_is_refused(house: House, version: object) -> None:
    answer = house.ask(request="status", version=version)
    assert (answer["is_done"], "is not spoken here" in answer["errors"][0]) == (False, True)


@pytest.mark.parametrize("request_", ["", "STATUS", "shutdown", None, 7, ["status"], {"a": 1}, "x" * 2000])
def test_an_unknown_request_is_refused_with_those_that_there_are(house: House, request_: object) -> None:
    (error,) = house.ask(request=request_)["errors"]
    assert error.endswith(
        "; there are status, workers, milters, metrics, reload, stop, enable, disable, evaluate, reset"
    )
    assert len(error) < 200


def test_a_reload_is_answered_when_it_is_through(house: House) -> None:
    peer = house.connect()
    house.send(peer, request="reload")
    assert received(peer) == b""
    (on_result,) = house.master.waiting
    on_result(ReloadResult(True, 5))
    assert answer_on(peer) == {"version": 1, "is_done": True, "result": {"generation": 5}}


def test_a_reload_that_is_refused_is_answered_with_all_reasons(house: House) -> None:
    peer = house.connect()
    house.send(peer, request="reload")
    house.master.waiting[0](ReloadResult(False, 1, ("a:1: x", "b:2: y")))
    assert answer_on(peer) == {"version": 1, "is_done": False, "errors": ["a:1: x", "b:2: y"]}


def test_of_very_many_faults_the_first_are_told(house: House) -> None:
    peer = house.connect()
    house.send(peer, request="reload")
    house.master.waiting[0](ReloadResult(False, 1, tuple(map(str, range(ERRORS_MAX + 5)))))
    errors = answer_on(peer)["errors"]
    assert (len(errors), errors[-1]) == (ERRORS_MAX + 1, "... and 5 more")


@pytest.mark.parametrize("name", ["enable", "disable", "evaluate", "reset"])
def test_a_change_names_a_milter(house: House, name: str) -> None:
    peer = house.connect()
    house.send(peer, request=name, milter="clamav-milter")
    override = None if name == "reset" else Override(name)
    assert house.master.changes == [Change("clamav-milter", override)]
    assert house.master.closed == (["clamav-milter"] if name == "reset" else [])
    house.master.waiting[0](ReloadResult(True, 2))
    assert answer_on(peer)["result"] == {"generation": 2}


@pytest.mark.parametrize("milter", [None, "", 7, ["a"]])
def test_a_change_without_a_milter_is_refused(house: House, milter: object) -> None:
    assert house.ask(request="disable", milter=milter)["errors"] == ["disable needs the name of a milter"]
    assert house.master.changes == []


def test_a_stop_is_answered(house: House) -> None:
    assert house.ask(request="stop")["result"] == {"is_stopping": True}
    assert house.master.stops == 1


def test_a_bug_is_answered_and_serving_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.master, "milters", lambda: 1 // 0)
    assert house.ask(request="milters")["errors"] == ["a bug of this program; its log has the traceback"]
    assert house.ask(request="status")["is_done"]


def test_several_requests_on_one_connection_are_answered_in_their_order(house: House) -> None:
    peer = house.connect()
    peer.sendall(b'{"request": "workers"}\r\n{"request": "nonsense"}\n{"request": "milters"}\n')
    house.turn(10)
    answers = [json.loads(line) for line in received(peer).splitlines()]
    assert [answer["is_done"] for answer in answers] == [True, False, True]


def test_what_is_asked_again_at_once_is_not_made_again(house: House) -> None:
    for _ in range(50):
        house.ask(request="status")
    assert house.master.snapshots == 1
    house.master.now += 1.0
    house.ask(request="status")
    assert house.master.snapshots == 2


def test_whoever_changed_something_sees_it(house: House) -> None:
    house.ask(request="status")
    house.send(house.connect(), request="disable", milter="a")
    house.master.waiting[0](ReloadResult(True, 2))
    house.ask(request="status")
    assert house.master.snapshots == 2


# ---- for reading alone


@pytest.mark.parametrize("name", ["status", "workers", "milters"])
def test_the_socket_for_reading_answers_questions(house: House, name: str) -> None:
    assert house.ask(house.reading, request=name)["is_done"]


@pytest.mark.parametrize("name", ORDERS)
def test_the_socket_for_reading_refuses_all_else_and_says_why(house: House, name: str) -> None:
    (error,) = house.ask(house.reading, request=name, milter="a")["errors"]
    assert error == f"{name} is not taken on this socket, which is for reading alone"
    assert (house.master.stops, house.master.changes, house.master.waiting) == (0, [], [])


# ---- hostile and clumsy peers


GARBAGE = (
    b"",
    b"\0\xff\xfe\x80" * 100,
    b"[" * 4000,
    b'{"a":' * 800,
    b"9" * 4000,
    b"GET / HTTP/1.1\r",
    b"\x16\x03\x01\x02\x00",
    b'"status"',
    b"7",
    b"null",
    b"\xef\xbb\xbf{}",
    b'{"request": "status"',
    b'{"request": "\xff"}',
    b'{"version": NaN}',
)


@pytest.mark.parametrize("line", GARBAGE)
def test_garbage_is_refused_and_the_next_request_answered(house: House, line: bytes) -> None:
    peer = house.connect()
    peer.sendall(line + b"\n")
    house.turn()
    assert answer_on(peer)["is_done"] is False
    house.send(peer, request="status")
    assert answer_on(peer)["is_done"] is True


def test_a_request_may_come_byte_by_byte(house: House) -> None:
    peer = house.connect()
    for byte in b'{"request": "status"}\n':
        peer.sendall(bytes((byte,)))
        house.turn()
    assert answer_on(peer)["is_done"]


def test_bytes_now_and_then_do_not_prolong_the_deadline(house: House) -> None:
    peer = house.connect()
    for _ in range(5):
        peer.sendall(b" ")
        house.turn()
        house.master.now += REQUEST_S / 4
    house.turn()
    assert is_closed(peer)
    assert house.sockets() == 0


def test_a_peer_that_says_nothing_is_parted_with(house: House) -> None:
    peer = house.connect()
    house.turn()
    house.master.now += REQUEST_S + 1
    house.turn()
    assert is_closed(peer)


def test_a_line_without_end_is_refused_and_the_peer_parted_with(house: House) -> None:
    peer = house.connect()
    peer.sendall(b"x" * REQUEST_BYTES_MAX)
    house.turn()
    assert answer_on(peer)["errors"] == [f"a request is one line of {REQUEST_BYTES_MAX} bytes at most"]
    assert is_closed(peer)


def test_the_longest_request_is_taken(house: House) -> None:
    line = b'{"request": "status", "filler": ""}'
    peer = house.connect()
    peer.sendall(line.replace(b'""', b'"%s"' % (b"x" * (REQUEST_BYTES_MAX - 1 - len(line)))) + b"\n")
    house.turn()
    assert answer_on(peer)["is_done"]


def test_a_peer_that_never_reads_is_parted_with(house: House) -> None:
    house.master.filler = "x" * BIG
    peer = house.connect()
    house.send(peer, request="workers")
    house.turn(20)
    assert house.sockets() == 1
    house.master.now += ANSWER_S + 1
    house.turn()
    assert house.sockets() == 0


def test_a_peer_that_reads_slowly_gets_a_large_answer(house: House) -> None:
    house.master.filler = "x" * BIG
    peer = house.connect()
    house.send(peer, request="workers")
    data = b""
    while not data.endswith(b"\n"):
        data += peer.recv(50_000)
        house.turn()
    assert json.loads(data)["result"]["workers"][0]["filler"] == "x" * BIG


def test_an_endless_stream_of_requests_is_not_kept(house: House) -> None:
    house.master.filler = "x" * BIG
    peer = house.connect()
    house.flood(peer, b'{"request": "workers"}\n')
    gc.collect()
    tracemalloc.start()
    for _ in range(200):
        house.turn(1)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000


def test_a_peer_that_left_in_the_middle_of_a_request_is_forgotten(house: House) -> None:
    peer = house.connect()
    peer.sendall(b'{"request": "rel')
    house.turn()
    peer.close()
    house.turn()
    assert house.sockets() == 0
    assert house.master.waiting == []


def test_a_request_counts_though_its_peer_left_at_once(house: House) -> None:
    with house.connect() as peer:
        peer.sendall(b'{"request": "stop"}\n')
    house.turn(5)
    assert house.master.stops == 1
    assert house.sockets() == 0


def test_a_peer_that_only_closed_its_sending_side_is_answered(house: House) -> None:
    peer = house.connect()
    peer.sendall(b'{"request": "status"}\n')
    peer.shutdown(socket.SHUT_WR)
    house.turn(5)
    assert answer_on(peer)["is_done"]
    assert house.sockets() == 0


def test_a_peer_that_left_before_its_reload_was_through_is_forgotten(house: House) -> None:
    peer = house.connect()
    house.send(peer, request="reload")
    peer.close()
    house.turn()
    assert house.sockets() == 0
    house.master.waiting[0](ReloadResult(True, 2))
    assert house.ask(request="status")["is_done"]


def test_a_peer_that_waits_for_a_reload_has_no_deadline(house: House) -> None:
    peer = house.connect()
    house.send(peer, request="reload")
    house.master.now += 1000.0
    house.turn()
    house.master.waiting[0](ReloadResult(True, 2))
    assert answer_on(peer)["is_done"]


def test_nothing_is_read_of_a_peer_that_waits_for_a_reload(house: House) -> None:
    peer = house.connect()
    house.send(peer, request="reload")
    house.flood(peer, b'{"request": "reload"}\n')
    assert len(house.master.waiting) == 1


# ---- very many peers


def test_thousands_that_connect_and_say_nothing_keep_nobody_out(house: House) -> None:
    for _ in range(3000):
        house.connect().close()
        idle = house.connect()
        house.turn(1)
        assert house.sockets() <= PLACES + 1
    assert house.ask(request="status")["is_done"]
    assert not is_closed(idle)


def test_a_crowd_on_the_socket_for_reading_does_not_touch_the_other_one(house: House) -> None:
    admin = house.connect()
    for _ in range(3 * PLACES):
        house.connect(house.reading)
    house.turn(10)
    house.send(admin, request="status")
    assert answer_on(admin)["is_done"]


def test_where_all_wait_for_a_reload_a_further_one_is_told_so(house: House) -> None:
    for _ in range(PLACES):
        house.send(house.connect(), request="reload")
    answer = house.ask(request="status")
    assert answer["errors"] == ["too many others are connected; try again"]
    assert house.sockets() == PLACES


def test_without_descriptors_the_loop_does_not_spin_and_serves_again_later(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Exhausted(socket.socket):
        def accept(self) -> Any:
            raise OSError(24, "Too many open files")

    (door, _) = house.control._doors
    real, door.listener.socket = door.listener.socket, Exhausted(fileno=door.listener.socket.fileno())
    peer = house.connect()
    house.turn()
    assert house.master.poll.poll(0) == []
    door.listener.socket.detach()
    door.listener.socket = real
    house.master.now += REST_S
    house.send(peer, request="status")
    assert answer_on(peer)["is_done"]


# ---- the sockets themselves


def mode_of(path: str) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_the_modes_are_those_of_the_configuration(house: House) -> None:
    assert (mode_of(house.admin), mode_of(house.reading)) == (0o600, 0o666)


def test_both_sockets_are_gone_after_the_stop_and_those_connected_go_on(house: House) -> None:
    peer = house.connect()
    house.turn()
    house.control.stop()
    assert not os.path.exists(house.admin)
    assert not os.path.exists(house.reading)
    house.send(peer, request="status")
    assert answer_on(peer)["is_done"]
    house.control.close()
    assert house.master.registered == {}


def reloaded(house: House, **settings: object) -> None:
    config = replace(house.configured(**settings))
    house.control.commit(house.control.prepare(config))


def test_a_reload_keeps_a_socket_and_who_is_connected(house: House) -> None:
    peer, before = house.connect(), os.stat(house.admin).st_ino
    house.turn()
    reloaded(house)
    assert os.stat(house.admin).st_ino == before
    house.send(peer, request="status")
    assert answer_on(peer)["is_done"]


def test_a_reload_moves_a_socket_and_keeps_who_is_connected(house: House, tmp_path: Path) -> None:
    peer = house.connect()
    house.turn()
    new = str(tmp_path / "new.sock")
    reloaded(house, connection_spec=Endpoint("unix", path=new))
    assert not os.path.exists(house.admin)
    assert house.ask(new, request="status")["is_done"]
    house.send(peer, request="status")
    assert answer_on(peer)["is_done"]


def test_a_reload_removes_and_adds_the_socket_for_reading(house: House) -> None:
    reloaded(house, read_only_connection_spec=None)
    assert not os.path.exists(house.reading)
    reloaded(house)
    assert house.ask(house.reading, request="status")["is_done"]


def test_a_reload_changes_the_mode_of_the_very_socket(house: House) -> None:
    before = os.stat(house.admin).st_ino
    reloaded(house, unix_socket_mode=0o660)
    assert (mode_of(house.admin), os.stat(house.admin).st_ino) == (0o660, before)


def test_a_reload_does_not_touch_a_file_that_took_the_place_of_a_socket(house: House) -> None:
    os.unlink(house.admin)
    Path(house.admin).write_text("not ours")
    os.chmod(house.admin, 0o640)
    reloaded(house, unix_socket_mode=0o666)
    assert mode_of(house.admin) == 0o640


def test_a_socket_whose_role_a_reload_changes_takes_no_orders_any_more(house: House) -> None:
    reloaded(house, connection_spec=None, read_only_connection_spec=Endpoint("unix", path=house.admin))
    assert "for reading alone" in house.ask(request="stop")["errors"][0]


def test_a_configuration_that_is_not_taken_leaves_no_new_socket(house: House, tmp_path: Path) -> None:
    new = tmp_path / "new.sock"
    house.control.abandon(house.control.prepare(house.configured(connection_spec=Endpoint("unix", path=str(new)))))
    assert not new.exists()
    assert house.ask(request="status")["is_done"]
    house.turn()
    assert house.sockets() == 0


def test_a_new_socket_is_known_to_the_loop_before_it_is_served(house: House, tmp_path: Path) -> None:
    """Or workers that are forked meanwhile would keep it open."""
    new = str(tmp_path / "new.sock")
    preparation = house.control.prepare(house.configured(connection_spec=Endpoint("unix", path=new)))
    house.connect(new)
    assert house.sockets() == 1
    assert house.master.poll.poll(0) == []
    house.control.abandon(preparation)
    assert house.sockets() == 0


def test_a_socket_that_can_not_be_made_refuses_the_configuration(house: House, tmp_path: Path) -> None:
    good = tmp_path / "new.sock"
    with pytest.raises(ListenError, match="does not exist"):
        house.control.prepare(
            house.configured(
                connection_spec=Endpoint("unix", path=str(good)),
                read_only_connection_spec=Endpoint("unix", path="/nonexistent/c.sock"),
            )
        )
    assert not good.exists()
    assert house.sockets() == 0


def test_a_group_that_does_not_exist_refuses_the_configuration(house: House, tmp_path: Path) -> None:
    new = Endpoint("unix", path=str(tmp_path / "new.sock"))
    with pytest.raises(PrivilegeError):
        house.control.prepare(house.configured(connection_spec=new, unix_socket_group="no-such-group"))


def test_the_default_socket_is_not_missed_where_it_can_not_be_made(caplog: pytest.LogCaptureFixture) -> None:
    control, master = Control(), Master()
    settings = ControllerSettings(connection_spec=Endpoint("unix", path="/nonexistent/c.sock"))
    control.open(Config(controller=settings), None)
    control.attach(master)
    assert master.registered == {}
    assert "control-unavailable error=\"can't listen on unix:/nonexistent/c.sock" in caplog.text
    control.close()


def test_a_socket_for_reading_may_be_an_inet_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    house = House(tmp_path, read_only_connection_spec=Endpoint("inet", host="127.0.0.1", port=port))
    try:
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.setblocking(False)
            house.turn()
            house.send(peer, request="stop")
            select.select([peer], [], [], 5.0)
            assert "for reading alone" in answer_on(peer)["errors"][0]
    finally:
        house.close()


# ---- our own processes


def admitted(house: House) -> socket.socket:
    """The other end of a line that was let in without a socket of its own."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    house.peers.append(theirs)
    house.control.admit(ours)
    return theirs


def test_a_process_of_ours_may_ask(house: House) -> None:
    line = admitted(house)
    house.send(line, request="metrics")
    assert answer_on(line)["result"]["generation"] == 3


def test_a_process_of_ours_may_order_nothing(house: House) -> None:
    line = admitted(house)
    house.send(line, request="stop")
    assert (answer_on(line)["is_done"], house.master.stops) == (False, 0)


def test_a_process_of_ours_may_take_its_time(house: House) -> None:
    line = admitted(house)
    for _ in range(2):
        house.master.now += 1e6
        house.turn()
        house.send(line, request="metrics")
        assert answer_on(line)["is_done"]


def test_a_process_of_ours_takes_nobody_the_place(house: House) -> None:
    lines = [admitted(house) for _ in range(PLACES)]
    assert house.ask(request="status")["is_done"]
    assert not any(map(is_closed, lines))


def test_one_that_is_gone_is_forgotten(house: House) -> None:
    admitted(house).close()
    house.turn()
    assert house.sockets() == 0
