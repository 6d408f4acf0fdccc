"""Whether Postfix asks us, by its files."""

from __future__ import annotations

import pytest

from mmgr.doctor.milterlist import items, same, written
from mmgr.endpoint import Endpoint, parse_endpoint

from .trees import MASTER, OURS, bad, child, config, files, judged

RELOADED = "\npostfix reload"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("unix:/a", "unix:/a"),
        ("local:/a", "unix:/a"),
        ("inet:localhost:10025", "inet:10025@localhost"),
        ("inet:127.0.0.1:10025", "inet:10025@127.0.0.1"),
        ("inet:[::1]:10025", "inet6:10025@[::1]"),
        ("{unix:/a, default_action=accept}", "unix:/a"),
        ("{ inet:h:1, connect_timeout = 5s }", "inet:1@h"),
    ],
)
def test_postfixs_notation_is_read(text: str, spec: str) -> None:
    (found,) = items(text)
    assert found.endpoint == parse_endpoint(spec)


@pytest.mark.parametrize(
    ("text", "better"),
    [("inet:10025@127.0.0.1", "inet:127.0.0.1:10025"), ("inet6:1@[::1]", "inet:[::1]:1"), ("/run/s", "unix:/run/s")],
)
def test_our_notation_is_not_postfixs_and_is_put_into_it(text: str, better: str) -> None:
    (found,) = items(text)
    assert (found.endpoint, found.better) == (None, better)


@pytest.mark.parametrize("text", ["tcp:1", "inet:host:smtp", "unix:", "nonsense", "{}", "{", "inet:"])
def test_what_postfix_does_not_take_is_no_socket(text: str) -> None:
    assert [item.endpoint for item in items(text)] == [None]


def test_options_in_braces_are_kept() -> None:
    (found,) = items("{unix:/a, connect_timeout=5s, default_action=accept}")
    assert dict(found.options) == {"connect_timeout": "5s", "default_action": "accept"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("unix:/var/run/a", "unix:/run//a"),
        ("inet:1@127.0.0.1", "inet:1@localhost"),
        ("inet:1@192.0.2.1", "inet:1"),
        ("inet:1@Mail.Example", "inet:1@mail.example"),
    ],
)
def test_two_spellings_of_one_socket_are_the_same(one: str, other: str) -> None:
    assert same(parse_endpoint(one), parse_endpoint(other), True)


@pytest.mark.parametrize(
    ("one", "other"),
    [("unix:/a", "unix:/b"), ("inet:1@h", "inet:2@h"), ("inet:1@a", "inet:1@b"), ("unix:/a", "inet:1")],
)
def test_two_sockets_are_not_the_same(one: str, other: str) -> None:
    assert not same(parse_endpoint(one), parse_endpoint(other), True)


def test_a_listener_on_every_interface_is_written_as_loopback() -> None:
    assert written(Endpoint("inet", port=10025)) == "inet:127.0.0.1:10025"


def test_nothing_is_wrong_when_both_lists_have_our_socket() -> None:
    assert bad(f"smtpd_milters = {OURS}\nnon_smtpd_milters = $smtpd_milters") == []


def test_the_socket_may_be_named_through_other_parameters() -> None:
    _, reaches = judged(f"mm = {OURS}\nsmtpd_milters = $mm")
    assert [reach.path for reach in reaches] == ["/run/milter-manager/milter-manager.sock"]


def test_an_empty_list_is_an_error_with_the_line_that_sets_it() -> None:
    hint = f"postconf -e 'smtpd_milters = {OURS}'{RELOADED}"
    text = "smtp/inet: smtpd_milters is empty, which is not our socket: its mail is not filtered"
    assert bad("") == [("error", text, hint)]


def test_a_list_of_others_is_kept_in_the_line_that_adds_us() -> None:
    ((level, _, hint),) = bad("smtpd_milters = {unix:/a, default_action=accept}, inet:h:1")
    assert level == "error"
    assert hint.startswith(f"postconf -e 'smtpd_milters = {{unix:/a, default_action=accept}}, inet:h:1, {OURS}'")


def test_our_notation_in_main_cf_is_an_error_and_put_right() -> None:
    given = config(spec="inet:10025@127.0.0.1")
    level, text, hint = bad("smtpd_milters = inet:10025@127.0.0.1", given=given)[0]
    assert (level, hint) == ("error", f"postconf -e 'smtpd_milters = inet:127.0.0.1:10025'{RELOADED}")
    assert "Postfix writes inet:HOST:PORT" in text


def test_a_service_that_master_cf_keeps_from_milters_is_a_note() -> None:
    master = MASTER + "10026 inet n - n - - smtpd -o smtpd_milters=\n"
    found, _ = judged(f"smtpd_milters = {OURS}", master)
    assert [one.text for one in found if one.level == "note" and "10026" in one.text] == [
        "10026/inet: master.cf switches milters off for it, its mail is not filtered"
    ]


def test_a_service_with_a_list_of_its_own_is_edited_in_master_cf() -> None:
    master = MASTER + "submission inet n - n - - smtpd -o smtpd_milters=unix:/other\n"
    ((level, _, hint),) = bad(f"smtpd_milters = {OURS}", master)
    assert level == "warning"
    assert hint == f"postconf -P submission/inet/smtpd_milters=unix:/other,{OURS}{RELOADED}"


def test_a_child_that_postfix_asks_as_well_filters_twice() -> None:
    given = config(child("clamav", "unix:/run/clamav/s"))
    ((level, text, hint),) = bad(f"smtpd_milters = unix:/var/run/clamav/s, {OURS}", given=given)
    assert (level, hint) == ("warning", f"postconf -e 'smtpd_milters = {OURS}'{RELOADED}")
    assert text.endswith("it filters each message twice")


def test_a_child_that_postfix_asks_without_us_filters_once() -> None:
    found = bad("smtpd_milters = unix:/run/clamav/s", given=config(child("clamav", "unix:/run/clamav/s")))
    assert [level for level, _, _ in found] == ["error"]


def test_in_a_chroot_our_path_is_looked_for_below_the_queue() -> None:
    master = MASTER.replace("smtp inet n - n", "smtp inet n - y")
    _, (reach,) = judged(f"smtpd_milters = {OURS}", master)
    assert reach.path == "/var/spool/postfix/run/milter-manager/milter-manager.sock"


def test_a_path_that_counts_from_the_queue_is_ours_when_we_listen_there() -> None:
    given = config(spec="unix:/var/spool/postfix/mm/s")
    master = MASTER.replace("smtp inet n - n", "smtp inet n - y")
    _, (reach,) = judged("smtpd_milters = unix:/mm/s", master, given)
    assert reach.path == "/var/spool/postfix/mm/s"


@pytest.mark.parametrize(("level", "is_chrooted"), [("0", True), ("2", False), ("3.6", False), ("nonsense", True)])
def test_an_unset_chroot_column_follows_the_compatibility_level(level: str, is_chrooted: bool) -> None:
    read = files(f"compatibility_level = {level}", "smtp inet n - - - - smtpd")
    assert read.is_chrooted(read.services[0]) is is_chrooted


def test_without_a_master_cf_main_cf_counts_for_all() -> None:
    _, reaches = judged(f"smtpd_milters = {OURS}", "")
    assert [reach.place.name for reach in reaches] == ["smtpd"]


def test_local_mail_that_nobody_filters_is_a_note() -> None:
    found, _ = judged(f"smtpd_milters = {OURS}")
    assert [one.hint for one in found if one.level == "note"] == [
        f"postconf -e 'non_smtpd_milters = $smtpd_milters'{RELOADED}"
    ]
