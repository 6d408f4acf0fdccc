"""What of a session counts for the breaker of a child, and what a session does while it is open."""

from __future__ import annotations

import pytest

from mmgr.breaker import LEASE_S, Breakers, Panel, State
from mmgr.config.model import ChildSettings, FallbackStatus
from mmgr.endpoint import Endpoint
from mmgr.protocol.constants import Command
from mmgr.protocol.options import ALL_ACTIONS, OptionNegotiation
from mmgr.protocol.replies import Accept, Continue, Reject, ReplBody, TempFail
from tests.support.processes import wait_for
from tests.unit.workers.company import Company, Script
from workers.child import Child
from workers.dispatch import Decision
from workers.message import Message
from workers.spool import SpoolError
from workers.surroundings import Memory

LIMIT = 2
NAMED = ChildSettings("child1", (Endpoint("unix", path="/"),), breaker_failures=LIMIT, breaker_retry_s=10.0)


class House:
    """A company whose only child has a breaker, and a clock for that."""

    def __init__(self, company: Company) -> None:
        self.now = 1000.0
        self.company = company
        self.shared = Breakers(lambda: self.now)
        self.shared.extend([NAMED])
        self.place = self.shared.place(NAMED)
        company.memory = Memory(Panel(self.shared, [NAMED]))
        company.remembered = company.memory.options

    @property
    def state(self) -> State:
        return self.shared.state(self.place)

    def add(self, script: Script | None = None, **settings: object) -> Child:
        return self.company.add(script=script, **settings)[0]

    def open(self) -> None:
        self.shared.change(self.place, lambda _: State(LIMIT, False, 0, self.now, self.now + 10.0))


@pytest.fixture
def house(company: Company) -> House:
    return House(company)


@pytest.mark.parametrize("command", [Command.SMFIC_CONNECT, Command.SMFIC_RCPT])
def test_a_failure_counts_once_a_session(house: House, command: Command) -> None:
    house.add({command: [None]})
    house.company.ask("connect", "mail", "rcpt", "data")
    house.company.end()
    assert house.state == State(1)


def test_a_failure_over_a_message_is_known_as_such(house: House, message: Message) -> None:
    house.add({Command.SMFIC_BODYEOB: [None]})
    house.company.judge(message)
    assert house.state == State(1, needs_message=True)


def test_a_refusal_is_no_failure_and_ends_a_row(house: House, message: Message) -> None:
    house.shared.change(house.place, lambda _: State(1, needs_message=True))
    house.add({Command.SMFIC_BODYEOB: [Reject()]})
    assert house.company.judge(message) == (Reject(), "child1")
    assert house.state == State()


@pytest.mark.parametrize("answer", [Continue(), Accept(), TempFail()])
def test_a_session_in_which_all_was_answered_ends_a_row(house: House, answer: Continue) -> None:
    house.shared.change(house.place, lambda _: State(1))
    house.add({Command.SMFIC_RCPT: [answer]})
    house.company.ask("connect", "mail", "rcpt")
    assert house.state == State(1)
    house.company.children[0].end_message()
    house.company.end()
    assert house.state == State()


def test_a_session_that_did_not_use_the_child_says_nothing(house: House) -> None:
    house.shared.change(house.place, lambda _: State(1))
    house.add()
    house.company.end()
    assert house.state == State(1)


def test_a_body_that_can_not_be_kept_is_not_the_fault_of_the_child(house: House, message: Message) -> None:
    house.company.spool_directory = "/nonexistent"
    child = house.add({Command.SMFIC_BODYEOB: [ReplBody(b"new"), Continue()]})
    with pytest.raises(SpoolError):
        house.company.judge(message)
    assert child.failure is not None
    assert house.state == State()


def test_a_child_that_comes_back_wanting_more_did_not_fail(house: House) -> None:
    wants_less = OptionNegotiation(6, 0x1F, 0x7F)
    house.company.told = wants_less
    house.company.remembered["child1", _offer(house.company)] = wants_less
    child = house.company.add(OptionNegotiation(6, ALL_ACTIONS & ~0x100, 0))[0]
    house.company.judge(Message(True, house.company.make_body()))
    assert "wants more" in str(child.failure)
    assert house.state == State()


def _offer(company: Company) -> OptionNegotiation:
    return company._surroundings().offer


# ---- open


def test_while_it_is_open_the_child_is_as_failed_from_the_beginning(house: House, message: Message) -> None:
    house.open()
    child, milter = house.company.add(fallback_status=FallbackStatus.REJECT)
    child.consult_breaker()
    child.negotiate(0.0)
    assert house.company.ask("connect", "mail") == [None, Decision(Reject(), "child1")]
    assert house.company.judge(message) == (Reject(), "child1")
    house.company.end()
    assert milter.sessions == []
    assert house.state.failures == LIMIT


def test_a_probe_that_gets_its_message_answered_closes_it(house: House, message: Message) -> None:
    house.open()
    house.now += 10.0
    child = house.add()
    child.consult_breaker()
    house.company.ask("connect", "mail")
    assert house.state.probe_pid
    house.company.judge(message)
    assert house.state == State()


def test_a_probe_that_its_mta_leaves_while_the_child_is_asked_leaves_it_to_the_next(house: House) -> None:
    house.open()
    house.now += 10.0
    child = house.add()
    child.consult_breaker()
    house.company.ask("connect")
    child.is_inside = True
    house.company.end()
    assert house.state == State(LIMIT, False, 0, house.now - 10.0, house.now, 0.0)


def test_a_probe_keeps_its_claim_while_it_waits_for_the_child(house: House) -> None:
    house.open()
    house.now += 10.0

    def take_long() -> None:
        house.now += NAMED.connection_timeout_s
        wait_for(lambda: house.state.probe_until == house.now + LEASE_S, "claim that is kept")

    child = house.add({Command.SMFIC_CONNECT: [take_long, Continue()]})
    child.consult_breaker()
    house.company.ask("connect")
    assert child.failure is None
    assert house.state.is_probed(house.now)


def test_failures_of_an_open_one_are_not_told(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.open()
    house.now += 10.0
    child = house.add({Command.SMFIC_CONNECT: [None]})
    child.consult_breaker()
    house.company.ask("connect")
    assert child.failure is not None
    assert caplog.records == []
    assert house.state.next_probe == house.now + 10.0


def test_the_short_way_is_left_while_a_child_has_failures(house: House) -> None:
    memory = house.company.memory
    plan = object()
    memory.plans[b"offer"] = plan  # type: ignore[assignment]
    assert memory.plan_for(b"offer") is plan
    house.shared.change(house.place, lambda _: State(1))
    assert memory.plan_for(b"offer") is None
    house.shared.close("child1")
    assert memory.plan_for(b"offer") is plan
