"""A condition that stops a milter stops that milter alone, at every stage; the others decide as without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from mmgr.peers.behaviour import Behaviour, Close
from mmgr.peers.delivery import Outcome, Session, SmtpClient, Status
from mmgr.peers.macros import MacroTable
from mmgr.peers.mail import Message
from mmgr.protocol.commands import Abort, Connect, Mail, Rcpt
from mmgr.protocol.constants import ActionFlag, Command, MacroStage, ProtocolFlag
from mmgr.protocol.replies import AddHeader, Reject, TempFail
from tests.integration.rig import POSTFIX, Rig, headers, kinds, marking, only
from tests.support.processes import LabDirectory, wait_for

OWN = """
[conditions]
  stress_threshold = 3
  [[at connect]]
  expression = client_address in 192.0.2.0/24
  [[at helo]]
  expression = helo == good.example.net
  [[at mail]]
  expression = sender_domain == example.com
  [[at rcpt]]
  expression = recipient matches /^wanted/
  [[all recipients]]
  accounts = /^wanted/
  [[at content]]
  expression = header(X-Class) == yes
  [[small]]
  expression = size < 1000
  [[behind c1]]
  expression = header(X-c1) == seen
"""

GOOD = SmtpClient(Connect(b"mx.example.net", ord("4"), 25, b"192.0.2.7"), b"good.example.net")
BAD = SmtpClient(Connect(b"mx.example.net", ord("4"), 25, b"198.51.100.7"), b"bad.example.net")
WANTED, OTHER = b"<wanted@example.org>", b"<other@example.org>"
REJECTING = Behaviour(at={command: (Reject(),) for command in (Command.SMFIC_MAIL, Command.SMFIC_BODYEOB)})


@pytest.fixture(scope="module")
def running(lab: LabDirectory) -> Iterator[Rig]:
    rig = Rig(lab.subdirectory("conditions"), n_workers=4)
    file = rig.manager.config_directory / "conditions" / "own.conf"
    file.parent.mkdir()
    file.write_text(OWN, "utf-8")
    with rig:
        yield rig


@pytest.fixture
def rig(running: Rig) -> Rig:
    running.behave()
    return running


def under(rig: Rig, **names: str) -> None:
    """These children have these conditions from now on; workers remember nothing."""
    changed = {name: {"applicable_conditions": f'"{condition}"'} for name, condition in names.items()}
    rig.manager.write_config(rig.child_keys(**changed))
    rig.manager.reload()
    rig.forget()


def marks(outcome: Outcome) -> list[bytes]:
    """The names of the headers that children added."""
    return [edit.name for edit in outcome.edits if isinstance(edit, AddHeader)]


def deliver(rig: Rig, client: SmtpClient, *messages: Message, macros: MacroTable = POSTFIX) -> list[Outcome]:
    with Session(rig.connect(macros=macros), client) as session:
        return [session.deliver(message) for message in messages or (Message(),)]


@pytest.mark.parametrize("sessions", [1, 3])
def test_a_child_that_is_stopped_at_connect_is_not_connected_at_all(rig: Rig, sessions: int) -> None:
    under(rig, c1="at connect")
    for _ in range(sessions):
        assert deliver(rig, BAD)[0].status is Status.ACCEPT
    assert rig["c1"].sessions == []
    assert len(rig["c2"].sessions) == sessions


def test_the_others_hear_everything_when_one_is_stopped(rig: Rig) -> None:
    under(rig, c1="at connect")
    deliver(rig, BAD)
    assert kinds(rig.told("c2")) == kinds(rig.told("c3"))
    assert kinds(rig.told("c2"))[:5] == ["OptionNegotiation", "Connect", "Helo", "Mail", "Rcpt"]


def test_a_child_whose_condition_applies_hears_everything(rig: Rig) -> None:
    under(rig, c1="at connect")
    deliver(rig, GOOD)
    assert kinds(rig.told("c1")) == kinds(rig.told("c2"))


def test_what_a_stopped_child_would_have_said_does_not_count(rig: Rig) -> None:
    under(rig, c1="at connect")
    rig.behave(c1=REJECTING)
    assert (deliver(rig, BAD)[0].status, deliver(rig, GOOD)[0].status) == (Status.ACCEPT, Status.REJECT)


@pytest.mark.parametrize("condition", ["at connect", "at helo", "at mail", "at rcpt", "all recipients", "at content"])
def test_the_verdict_of_the_others_counts_at_whatever_stage_one_is_stopped(rig: Rig, condition: str) -> None:
    under(rig, c1=condition)
    rig.behave(c2=Behaviour(at={Command.SMFIC_BODYEOB: (Reject(),)}), c1=marking("c1"))
    (outcome,) = deliver(rig, BAD, Message(sender=b"<a@example.net>", recipients=(OTHER,)))
    assert (outcome.status, outcome.stage) == (Status.REJECT, "end-of-message")


@pytest.mark.parametrize("condition", ["at connect", "at helo", "at mail", "at rcpt", "all recipients", "at content"])
def test_no_edit_comes_from_a_child_that_is_stopped(rig: Rig, condition: str) -> None:
    under(rig, c1=condition)
    rig.behave(c1=marking("c1"), c2=marking("c2"))
    (outcome,) = deliver(rig, BAD, Message(sender=b"<a@example.net>", recipients=(OTHER,)))
    assert marks(outcome) == [b"X-c2"]


def test_a_child_that_is_stopped_at_helo_is_out_for_the_session(rig: Rig) -> None:
    under(rig, c1="at helo")
    deliver(rig, BAD, Message(), Message())
    assert kinds(rig.told("c1")) == ["OptionNegotiation", "Connect", "Quit"]


def test_a_child_that_is_stopped_at_mail_is_back_for_the_next_message(rig: Rig) -> None:
    under(rig, c1="at mail")
    rig.behave(c1=marking("c1"))
    outcomes = deliver(rig, GOOD, Message(sender=b"<a@example.net>"), Message(sender=b"<b@example.com>"))
    assert [len(outcome.edits) for outcome in outcomes] == [0, 1]
    assert [mail.sender for mail in only(rig.told("c1"), Mail)] == [b"<b@example.com>"]


def test_a_child_is_told_of_the_recipients_alone_that_are_for_it(rig: Rig) -> None:
    under(rig, c1="at rcpt")
    rig.behave(c1=marking("c1"))
    (outcome,) = deliver(rig, GOOD, Message(recipients=(OTHER, WANTED, b"<another@example.org>")))
    assert [rcpt.recipient for rcpt in only(rig.told("c1"), Rcpt)] == [WANTED]
    assert len(outcome.edits) == 1
    assert len(only(rig.told("c2"), Rcpt)) == 3


def test_a_child_without_any_recipient_does_not_get_the_message(rig: Rig) -> None:
    under(rig, c1="at rcpt")
    rig.behave(c1=marking("c1"))
    (outcome,) = deliver(rig, GOOD, Message(recipients=(OTHER,)))
    assert outcome.edits == ()
    assert "BodyEob" not in kinds(rig.told("c1"))


def test_a_child_for_accounts_sees_a_message_for_them_alone(rig: Rig) -> None:
    under(rig, c1="all recipients")
    rig.behave(c1=marking("c1"))
    mixed, pure = Message(recipients=(WANTED, OTHER)), Message(recipients=(WANTED,))
    assert [len(outcome.edits) for outcome in deliver(rig, GOOD, mixed, pure)] == [0, 1]


def test_a_child_that_is_inside_a_message_is_told_to_forget_it(rig: Rig) -> None:
    under(rig, c1="at content")
    deliver(rig, GOOD)
    told = kinds(rig.told("c1"))
    assert told[told.index("Rcpt") :][-2:] == ["Abort", "Quit"]
    assert "Header" not in told


def test_a_child_may_depend_on_a_header(rig: Rig) -> None:
    under(rig, c1="at content")
    rig.behave(c1=marking("c1"))
    classed = Message(headers=((b"X-Class", b" yes"),))
    assert [len(outcome.edits) for outcome in deliver(rig, GOOD, classed, Message())] == [1, 0]


def test_a_child_may_depend_on_what_one_before_it_added(rig: Rig) -> None:
    under(rig, c2="behind c1")
    rig.behave(c1=marking("c1"), c2=marking("c2"))
    assert marks(deliver(rig, GOOD)[0]) == [b"X-c1", b"X-c2"]
    rig.behave(c2=marking("c2"))
    assert deliver(rig, GOOD)[0].edits == ()


def test_a_child_may_depend_on_the_size(rig: Rig) -> None:
    under(rig, c1="small")
    rig.behave(c1=marking("c1"))
    outcomes = deliver(rig, GOOD, Message(chunks=(b"x" * 5000,)), Message())
    assert [len(outcome.edits) for outcome in outcomes] == [0, 1]


def test_all_stopped_at_connect_is_acceptance_and_one_line(rig: Rig) -> None:
    under(rig, c1="at connect", c2="at connect", c3="at connect")
    assert deliver(rig, BAD)[0].stage == "connect"
    rig.manager.wait_for_log(r"info: session-passed .* stage=connect children=c1:stopped\(at_connect\):0.0000,c2:stop")


def test_all_stopped_at_mail_is_acceptance_of_that_message_alone(rig: Rig) -> None:
    under(rig, c1="at mail", c2="at mail", c3="at mail")
    rig.behave(c3=Behaviour(at={Command.SMFIC_BODYEOB: (TempFail(),)}))
    outcomes = deliver(rig, GOOD, Message(sender=b"<a@example.net>"), Message(sender=b"<b@example.com>"))
    assert [(outcome.status, outcome.stage) for outcome in outcomes] == [
        (Status.ACCEPT, "envelope-from"),
        (Status.TEMPORARY_FAILURE, "end-of-message"),
    ]


def test_the_line_of_the_message_names_the_condition(rig: Rig) -> None:
    under(rig, c1="at mail")
    deliver(rig, GOOD, Message(sender=b"<a@example.net>"))
    rig.manager.wait_for_log(r"info: transaction .* children=c1:stopped\(at_mail\):0.0000,c2:continue:")


def test_a_milter_that_wants_nothing_of_the_envelope_is_stopped_by_it_all_the_same(rig: Rig) -> None:
    under(rig, c1="at mail", c2="at connect", c3="at rcpt")
    few = int(sum(ProtocolFlag[f"SMFIP_NO{step}"] for step in ("CONNECT", "HELO", "MAIL", "RCPT", "DATA")))
    seeing = Behaviour(actions=int(ActionFlag.SMFIF_ADDHDRS), steps=few)
    rig.behave(**{name: Behaviour(steps=few, actions=seeing.actions, at=marking(name).at) for name in rig.names})
    for _ in range(2):  # the second knows what they want
        (outcome,) = deliver(rig, BAD, Message(sender=b"<a@example.net>", recipients=(OTHER,)))
        assert outcome.edits == ()
    (outcome,) = deliver(rig, GOOD, Message(sender=b"<a@example.com>", recipients=(OTHER, WANTED)))
    assert len(outcome.edits) == 3


def test_authenticated_clients_are_known_by_what_the_mta_says_of_them(rig: Rig) -> None:
    under(rig, c1="Authenticated", c2="Unauthenticated")
    rig.behave(**{name: marking(name) for name in rig.names})
    login = MacroTable({b"v": b"Postfix 3.5.8", b"auth_type": b"PLAIN", b"auth_authen": b"joe"})
    assert marks(deliver(rig, GOOD, macros=login)[0]) == [b"X-c1", b"X-c3"]
    assert marks(deliver(rig, GOOD)[0]) == [b"X-c2", b"X-c3"]


def test_authentication_is_seen_where_milters_ask_for_other_macros(rig: Rig) -> None:
    under(rig, c1="Authenticated")
    lists: Mapping[MacroStage, tuple[bytes, ...]] = {MacroStage.SMFIM_ENVFROM: (b"{mail_addr}",)}
    rig.behave(c1=marking("c1"), c2=Behaviour(macro_lists=lists), c3=Behaviour(macro_lists=lists))
    login = MacroTable({b"v": b"Postfix 3.5.8", b"auth_type": b"PLAIN", b"auth_authen": b"joe"})
    for _ in range(2):
        assert len(deliver(rig, GOOD, macros=login)[0].edits) == 1


def test_trust_tells_a_child_and_no_other(rig: Rig) -> None:
    under(rig, c1="Trust")
    deliver(rig, GOOD, Message(sender=b"<a@gmail.com>"))
    assert rig.told("c1").macros_of[Command.SMFIC_MAIL].get(b"trusted_domain") == b"yes"
    assert b"trusted_domain" not in rig.told("c2").macros_of.get(Command.SMFIC_MAIL, {})


def test_a_child_is_spared_and_another_told_while_many_workers_are_busy(rig: Rig) -> None:
    under(rig, c1="No Stress", c2="Stress Notify")

    def used() -> tuple[bool, bool]:
        """Whether c1 gets a message, and whether c2 is told of stress."""
        before = len(rig["c1"].sessions)
        deliver(rig, GOOD)
        told = rig["c2"].sessions[-1].macros_of[Command.SMFIC_CONNECT]
        return len(rig["c1"].sessions) > before, told.get(b"stress") == b"yes"

    wait_for(lambda: used() == (True, False), "no stress at the start")
    with rig.greeted(), rig.greeted():
        wait_for(lambda: used() == (False, True), "stress")
    wait_for(lambda: used() == (True, False), "an end of the stress")


def test_a_child_that_fails_counts_only_where_its_conditions_let_it_take_part(rig: Rig) -> None:
    changed = {"c1": {"applicable_conditions": '"at connect"', "fallback_status": "temporary-failure"}}
    rig.manager.write_config(rig.child_keys(**changed))
    rig.manager.reload()
    with rig.down("c1", leaves_socket=False):
        rig.forget()
        assert deliver(rig, BAD)[0].status is Status.ACCEPT
        assert deliver(rig, GOOD)[0].status is Status.TEMPORARY_FAILURE


STAGES = ("at connect", "at helo", "at mail", "at rcpt", "all recipients", "at content")


@pytest.mark.parametrize("condition", STAGES)
@pytest.mark.parametrize("breaker", ["0", "1"], ids=["without a breaker", "with an open breaker"])
def test_the_fallback_of_a_dead_child_waits_for_its_conditions(rig: Rig, condition: str, breaker: str) -> None:
    keys = {"applicable_conditions": f'"{condition}"', "fallback_status": "temporary-failure"}
    rig.manager.write_config(rig.child_keys(c1={**keys, "breaker_failures": breaker, "breaker_retry": "60"}))
    rig.manager.reload()
    meant = Message(recipients=(WANTED,), headers=((b"X-Class", b" yes"),))
    spared = Message(sender=b"<a@example.net>", recipients=(OTHER,))
    with rig.down("c1", leaves_socket=False):
        rig.forget()
        for _ in range(2):
            assert deliver(rig, GOOD, meant)[0].status is Status.TEMPORARY_FAILURE
            assert deliver(rig, BAD, spared)[0].status is Status.ACCEPT
            mixed = deliver(rig, GOOD, spared, meant) if condition not in STAGES[:2] else []
            assert [outcome.status for outcome in mixed] in ([], [Status.ACCEPT, Status.TEMPORARY_FAILURE])


@pytest.mark.parametrize("condition", STAGES[1:])
def test_the_fallback_of_a_child_that_hangs_up_at_connect_waits_for_its_conditions(rig: Rig, condition: str) -> None:
    keys = {"applicable_conditions": f'"{condition}"', "fallback_status": "temporary-failure"}
    rig.manager.write_config(rig.child_keys(c1=keys))
    rig.manager.reload()
    rig.behave(c1=Behaviour(at={Command.SMFIC_CONNECT: (Close(),)}))
    spared = Message(sender=b"<a@example.net>", recipients=(OTHER,))
    meant = Message(recipients=(WANTED,), headers=((b"X-Class", b" yes"),))
    assert deliver(rig, BAD, spared)[0].status is Status.ACCEPT
    assert deliver(rig, GOOD, meant)[0].status is Status.TEMPORARY_FAILURE


def test_of_a_child_for_some_recipients_that_is_down_the_others_do_not_suffer(rig: Rig) -> None:
    keys = {"applicable_conditions": '"at rcpt"', "fallback_status": "temporary-failure"}
    rig.manager.write_config(rig.child_keys(c1=keys))
    rig.manager.reload()
    with rig.down("c1", leaves_socket=False):
        rig.forget()
        (outcome,) = deliver(rig, GOOD, Message(recipients=(OTHER, WANTED)))
    assert ([recipient for recipient, _ in outcome.refused], outcome.status) == ([WANTED], Status.ACCEPT)


def test_the_line_names_the_condition_that_withheld_all_recipients(rig: Rig) -> None:
    under(rig, c1="at rcpt")
    deliver(rig, GOOD, Message(recipients=(OTHER,)))
    rig.manager.wait_for_log(r"info: transaction .* children=c1:stopped\(at_rcpt\):0.0000,c2:continue:")


def test_a_reload_reads_the_lists_anew(rig: Rig) -> None:
    listed = rig.manager.config_directory / "friends.list"
    own = rig.manager.config_directory / "conf.d" / "friends.conf"
    own.parent.mkdir(exist_ok=True)
    own.write_text(f"[conditions]\n[[friends]]\naccounts = file:{listed}\n", "utf-8")
    rig.behave(c1=marking("c1"))
    try:
        seen = []
        for account in ("wanted@example.org", "somebody@example.org"):
            listed.write_text(f"# ours\n{account}\n", "utf-8")
            under(rig, c1="friends")
            seen.append(len(deliver(rig, GOOD, Message(recipients=(WANTED,)))[0].edits))
    finally:
        own.unlink()
    assert seen == [1, 0]


@pytest.mark.parametrize("name", [b"\xff\xfe" * 40, b"a" * 5000, b"[", b"", b"x\r\ny", b"."])
def test_hostile_names_of_clients_harm_nobody(rig: Rig, name: bytes) -> None:
    under(rig, c1="S25R", c2="Remote Network", c3="at helo")
    client = SmtpClient(Connect(name, ord("4"), 25, b"999.1"), name)
    (outcome,) = deliver(rig, client, Message(sender=b"<" + name + b">", recipients=(b"<" + name + b"@>",)))
    assert outcome.status is Status.ACCEPT


def test_headers_that_a_stopped_child_would_have_seen_reach_the_others(rig: Rig) -> None:
    under(rig, c1="at content")
    deliver(rig, GOOD)
    assert len(headers(rig.told("c2"))) == len(Message().headers)


def test_an_abort_after_a_stop_reaches_nobody_twice(rig: Rig) -> None:
    under(rig, c1="at content")
    deliver(rig, GOOD, Message(), Message())
    assert len(only(rig.told("c1"), Abort)) == 2


def test_a_condition_that_is_gone_lets_the_child_take_part(rig: Rig) -> None:
    under(rig, c1="at connect")
    deliver(rig, BAD)
    under(rig)
    deliver(rig, BAD)
    rig.wait_for_ends()
    assert kinds(rig.told("c1")) == kinds(rig["c2"].sessions[-1])
