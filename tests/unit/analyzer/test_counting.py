"""What lines come to."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgr.analyzer.counting import CHILDREN_MAX, MANAGER, Ledger, Minute
from mmgr.analyzer.heads import Line
from tests.unit.analyzer.lines import transaction

MINUTE = 1795388400
REFUSED = (
    "session-refused session=7.1 client=a[192.0.2.7] stage=connect verdict=reject child=m children=m:reject:0.0100"
)
PASSED = "session-passed session=7.2 client=a[192.0.2.7] stage=connect children=m:stopped(S25R):0.0000"
FAILED = 'child-failed session=7.3 child=m stage=helo kind=ChildTimeout error="no answer: 5 s" fallback=accept'


def ledger_of(*messages: str, host: bytes = b"mx1") -> Ledger:
    ledger = Ledger()
    for message in messages:
        ledger.take(Line(MINUTE, host, message.encode()))
    return ledger


def counted(*messages: str) -> Minute:
    return ledger_of(*messages).minutes[MINUTE]


def test_a_message_counts_with_its_verdict_and_each_milter_with_its_own() -> None:
    found = counted(transaction(verdict="reject", children="a:continue:0.0100,b:temporary-failure:0.0200"))
    assert found.statuses == {MANAGER: {"reject": 1}, b"a": {"pass": 1}, b"b": {"temporary_failure": 1}}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("failed", "error"),
        ("(reject)", "reject"),
        ("stopped(Remote_Network)", "stop"),
        ("(stopped(S25R))", "stop"),
        ("stopped(a,b:c)", "stop"),
        ("skip", "pass"),
    ],
)
def test_what_a_milter_came_to_has_one_word(said: str, status: str) -> None:
    assert counted(transaction(children=f"a:{said}:0.0100")).statuses[b"a"] == {status: 1}


def test_a_milter_that_a_condition_keeps_out_was_not_asked() -> None:
    found = counted(transaction(children="a:stopped(S25R):0.0000,b:accept:0.5000"))
    assert found.sessions["child"] == 1
    assert b"a" not in found.waits


def test_a_message_without_milters_counts() -> None:
    assert counted(transaction(children="-")).statuses == {MANAGER: {"accept": 1}}


def test_times_are_kept_as_sum_maximum_and_number() -> None:
    found = counted(transaction(elapsed_s=0.25), transaction(elapsed_s=0.75))
    assert found.waits[MANAGER] == [1.0, 0.75, 2]


def test_messages_of_one_session_are_one_session() -> None:
    found = counted(transaction("7.1"), transaction("7.1"), transaction("8.1"), transaction("7.2"))
    assert (found.sessions["smtp"], found.sessions["message"]) == (3, 4)


def test_equal_sessions_of_two_hosts_are_two() -> None:
    ledger = Ledger()
    for host in (b"mx1", b"mx2", b"mx1"):
        ledger.take(Line(MINUTE, host, transaction("7.1").encode()))
    assert ledger.minutes[MINUTE].sessions["smtp"] == 2


def test_a_refused_session_counts_with_its_verdict() -> None:
    found = counted(REFUSED)
    assert (found.statuses[MANAGER], found.statuses[b"m"]) == ({"reject": 1}, {"reject": 1})


def test_a_session_without_milters_passes() -> None:
    found = counted(PASSED)
    assert (found.statuses[MANAGER], found.statuses[b"m"]) == ({"pass": 1}, {"stop": 1})


def test_a_failure_counts_with_those_that_were_held_back() -> None:
    assert counted(FAILED, f"{FAILED} repeated=4").failures == {b"m": {"timeout": 6}}


@pytest.mark.parametrize("line", [transaction(), REFUSED, PASSED, FAILED])
def test_a_line_that_was_cut_anywhere_counts_for_nothing(line: str) -> None:
    shorter = [line[:end] for end in range(1, len(line)) if not line[:end].endswith("greylist:continue:0.0100")]
    ledger = ledger_of(*shorter)
    assert ledger.minutes == {}


def test_a_line_with_another_one_in_it_counts_for_nothing() -> None:
    whole = transaction()
    ledger = ledger_of(*(whole[:at] + whole + whole[at:] for at in range(1, len(whole))))
    assert (ledger.minutes, ledger.n_counted) == ({}, 0)


def test_further_fields_at_the_end_do_no_harm() -> None:
    assert ledger_of(f"{transaction()} spooled=yes").n_counted == 1


def test_other_events_are_passed_over() -> None:
    ledger = ledger_of("stopped pid=1", "serving spec=unix:/x", "", "transaction-like x")
    assert (ledger.minutes, ledger.n_damaged) == ({}, 0)


def test_a_word_that_is_no_verdict_is_damage() -> None:
    assert ledger_of(transaction(verdict="maybe"), transaction(children="a:maybe:0.1000")).n_damaged == 2


def test_no_more_milters_are_believed_in_than_anybody_has() -> None:
    ledger = ledger_of(*(transaction(children=f"m{n}:accept:0.1000") for n in range(CHILDREN_MAX + 5)))
    assert (len(ledger.children), ledger.n_left_out) == (CHILDREN_MAX, 5)


def test_a_name_that_is_too_long_is_left_out() -> None:
    ledger = ledger_of(transaction(children=f"{'m' * 101}:accept:0.1000"))
    assert (ledger.children, ledger.n_left_out) == (set(), 1)


def test_minutes_come_out_in_their_order_and_only_those_that_are_over() -> None:
    ledger = Ledger()
    for minute in (MINUTE + 60, MINUTE, MINUTE + 120):
        ledger.take(Line(minute, b"", transaction().encode()))
    assert [minute for minute, _ in ledger.before(MINUTE + 120)] == [MINUTE, MINUTE + 60]
    assert list(ledger.minutes) == [MINUTE + 120]


def test_counts_come_back_from_json_as_they_were() -> None:
    before = counted(transaction(), FAILED, transaction(children="m\u00fc:accept:0.1000"))
    after = Minute.from_plain(json.loads(json.dumps(before.as_plain())))
    assert after.as_plain() == before.as_plain()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_list_of_milters_counts_or_is_damage(listed: bytes) -> None:
    ledger = Ledger()
    ledger.take(Line(MINUTE, b"", transaction(children="").encode() + listed))
    assert ledger.n_counted + ledger.n_damaged == 1


@pytest.mark.parametrize("piece", ["a:stopped(", "a:", "a,", "(", ":stopped():", "a:accept:0.1000,"])
def test_a_long_hostile_list_costs_no_more_than_its_length(piece: str) -> None:
    """The limit of time of every test is what fails here."""
    listed = (piece * 60000)[:60000]
    ledger = ledger_of(*(transaction(children=f"{listed}x") for _ in range(50)))
    assert (ledger.n_damaged, ledger.n_counted) == (50, 0)


def test_a_message_that_is_longer_than_any_of_ours_is_damage() -> None:
    assert ledger_of(f"{transaction()} more={'x' * 70000}").n_damaged == 1


# ---- the lines of milter manager 2


def statistics_of(*lines: str) -> Minute:
    ledger = Ledger(has_statistics=True)
    for line in lines:
        ledger.take(Line(MINUTE, b"", f"[statistics] {line}".encode()))
    return ledger.minutes[MINUTE]


def test_the_end_of_a_session_counts_with_its_status() -> None:
    found = statistics_of("[session][end][end-of-message][pass][0.00418](1)")
    assert (found.sessions, found.statuses) == ({"smtp": 1}, {MANAGER: {"pass": 1}})


def test_the_end_of_a_milter_counts_with_its_status_and_time() -> None:
    found = statistics_of("[milter][end][end-of-message][temporary-failure][0.5](3): m2")
    assert (found.statuses, found.waits) == ({b"m2": {"temporary_failure": 1}}, {b"m2": [0.5, 0.5, 1]})


def test_the_most_sessions_at_a_time_count() -> None:
    found = statistics_of(
        "[sessions][finished] 1(+1) 4", "[sessions][finished] 2(+1) 9", "[sessions][finished] 3(+1) 2"
    )
    assert found.sessions == {"concurrent": 9}


@pytest.mark.parametrize(
    ("header", "reports"),
    [
        ("X-Spam-Flag=YES", {"spam": 1}),
        ("X-Spam-Flag=no", None),
        ("X-Spam-Status=Yes, score=9 tests=BAYES_99,URIBL_BLACK,URIBL_RED", {"uribl": 1}),
        ("X-Virus-Status=Infected (EICAR)", {"virus": 1}),
        ("X-Greylist=Delayed for 00:31:37 by milter-greylist", {"greylisting_pass": 1}),
        ("X-Greylist=Sender is SPF-compliant, not delayed", {"spf_pass": 1}),
        (
            "Authentication-Results=mx; spf=pass a; dkim=hardfail; dkim-adsp=pass",
            {"spf_pass": 1, "dkim_fail": 1, "dkim_adsp_pass": 1},
        ),
        ("Authentication-Results=mx; dkim=neutral (verification failed) header.i=@a", {"dkim_fail": 1}),
        ("Authentication-Results=mx; sender-id=fail x-dkim=pass", {"sender_id_fail": 1}),
        ("Subject=a>: b=dkim=pass", None),
    ],
)
def test_a_header_that_a_milter_added_tells_what_it_found(header: str, reports: dict[str, int] | None) -> None:
    name, _, value = header.partition("=")
    found = statistics_of("[session][disconnected][0.1](1)", f"[milter][header][add](2): <{name}={value}>: m")
    assert found.reports == ({} if reports is None else {b"m": reports, MANAGER: reports})


def test_a_statistics_line_that_was_cut_is_damage() -> None:
    ledger = Ledger(has_statistics=True)
    ledger.take(Line(MINUTE, b"", b"[statistics] [session][end][end-of-message][pa"))
    assert ledger.n_damaged == 1


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda v: b"[milter][header][add](1): <X-Spam=" + v))
)
def test_any_statistics_line_counts_or_is_damage_or_nothing(text: bytes) -> None:
    ledger = Ledger(has_statistics=True)
    ledger.take(Line(MINUTE, b"", b"[statistics] " + text))
    assert ledger.n_counted + ledger.n_damaged == 1


def test_a_long_hostile_header_costs_no_more_than_its_length() -> None:
    value = "dkim=neutral " * 4500
    statistics_of(*[f"[milter][header][add](2): <Authentication-Results={value}>: m"] * 20)


def test_our_own_lines_do_not_count_beside_statistics() -> None:
    ledger = Ledger(has_statistics=True)
    ledger.take(Line(MINUTE, b"", transaction().encode()))
    assert ledger.minutes == {}


def test_statistics_do_not_count_beside_our_own_lines() -> None:
    assert ledger_of("[statistics] [session][end][end-of-message][pass][0.00418](1)").minutes == {}
