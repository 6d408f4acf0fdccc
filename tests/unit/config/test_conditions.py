"""``[conditions]``: what a file says becomes conditions that milters may name, or a fault with its place."""

from __future__ import annotations

import pytest

from mmgr.conditions.base import Stage
from mmgr.conditions.facts import Facts
from mmgr.config.model import S25RSettings
from tests.support.configuration import Directory

MILTER = "[milters]\n[[a]]\nconnection_spec = unix:/a\napplicable_conditions = "


def client(name: bytes) -> Facts:
    return Facts(client_name=name, client_address=b"192.0.2.7", client_family=b"4")


def test_an_expression_becomes_a_condition(directory: Directory) -> None:
    directory.write("[conditions]\n[[mine]]\nexpression = client_name == x.example.net\n")
    condition = directory.config().compiled["mine"]
    assert [bool(condition.judge(Stage.CONNECT, client(name))) for name in (b"x.example.net", b"y")] == [False, True]


def test_the_commas_of_an_expression_need_no_quotes(directory: Directory) -> None:
    directory.write("[conditions]\n[[mine]]\nexpression = client_name in a, b.example.net and not tls  # ours\n")
    assert directory.config().conditions.own[0].expression == "client_name in a, b.example.net and not tls"


def test_accounts_become_a_condition(directory: Directory) -> None:
    directory.write("[conditions]\n[[mine]]\naccounts = a@example.org, @example.com\n")
    facts = Facts(recipients=(b"<a@example.org>", b"<x@example.com>"))
    assert directory.config().compiled["mine"].judge(Stage.DATA, facts) == ""


def test_the_settings_of_a_built_in_condition_count(directory: Directory) -> None:
    directory.write("[conditions]\n[[S25R]]\nblacklist = mail.example.net\n")
    assert directory.config().compiled["S25R"].judge(Stage.CONNECT, client(b"mail.example.net")) == ""


def test_a_list_may_stand_in_several_lines(directory: Directory) -> None:
    directory.write('[conditions]\n[[S25R]]\nblacklist = """\n  a.example.net\n  # a remark\n\n  /^b,?x{1,2}/\n"""\n')
    record = directory.config().conditions.built_in["S25R"]
    assert isinstance(record, S25RSettings)
    assert record.blacklist == ("a.example.net", "/^b,?x{1,2}/")


def test_a_list_may_stand_in_a_file_beside_the_one_that_names_it(directory: Directory) -> None:
    directory.write("# ours\n\na.example.net\n .example.org\n", "conditions/black.list")
    directory.write("[conditions]\n[[S25R]]\nblacklist = x.example.net, file:black.list\n", "conditions/s25r.conf")
    record = directory.config().conditions.built_in["S25R"]
    assert isinstance(record, S25RSettings)
    assert record.blacklist == ("x.example.net", "a.example.net", ".example.org")


def test_the_main_file_wins_over_those_of_conditions(directory: Directory) -> None:
    directory.write("[conditions]\nstress_threshold = 5\ndns_timeout = 2\n", "conditions/a.conf")
    directory.write("[conditions]\nstress_threshold = 6\n")
    settings = directory.config().conditions
    assert (settings.stress_threshold, settings.dns_timeout_s) == (6, 2.0)


def test_not_listed_takes_the_block_lists_of_listed(directory: Directory) -> None:
    directory.write("[conditions]\n[[DNSBL Listed]]\nservices = bl.example.net\n")
    compiled = directory.config().compiled
    assert compiled["Not DNSBL Listed"].__dict__["services"] == compiled["DNSBL Listed"].__dict__["services"]


X, Y, ACCOUNTS, SERVER = "[conditions]\n[[x]]\n", "conditions.x", "accounts = a\n", "[conditions]\n[[S25R]]\n"
CONDITIONS_OF_A = "milters.a.applicable_conditions"
LOCAL = "conditions.Remote Network.local_addresses"

FAULTS = {
    "unknown name": (MILTER + "S25\n", 4, CONDITIONS_OF_A, "there is no condition 'S25' (did you mean S25R?)"),
    "unknown name of an own one": (MILTER + f"z\n{X}{ACCOUNTS}", 4, CONDITIONS_OF_A, "known are "),
    "neither": (X, 2, Y, "has neither expression nor accounts"),
    "both": (X + "expression = tls\n" + ACCOUNTS, 2, Y, "has both an expression and accounts"),
    "a broken expression": (X + "expression = tls and\n", 3, f"{Y}.expression", "column "),
    "one of several lines": (X + 'expression = """tls\n  and and tls"""\n', 4, f"{Y}.expression", "column 7"),
    "a broken pattern": (SERVER + "whitelist = /(/\n", 3, "conditions.S25R.whitelist", "broken regular expression"),
    "no network": ("[conditions]\n[[Remote Network]]\nlocal_addresses = here\n", 3, LOCAL, "no address"),
    "a list that is not there": (X + "accounts = file:/nonexistent\n", 3, f"{Y}.accounts", "can't be read"),
    "a built-in one without settings": ("[conditions]\n[[Authenticated]]\n", 2, "conditions", "has no settings"),
    "a comma in a name": ('[conditions]\n[["a,b"]]\naccounts = a\n', 2, "conditions", "can't be the name"),
    "an unknown key": (SERVER + "blaklist = a\n", 3, "conditions.S25R.blaklist", "there is no such setting"),
    "an unknown key of all": ("[conditions]\nstress = 1\n", 2, "conditions.stress", "there is no such setting"),
    "a section too deep": (X + ACCOUNTS + "[[[y]]]\n", 4, "conditions.x.y", "can't be a section"),
}


@pytest.mark.parametrize(("text", "line", "key", "problem"), FAULTS.values(), ids=FAULTS)
def test_a_fault_has_its_place(directory: Directory, text: str, line: int, key: str, problem: str) -> None:
    error = directory.write(text).error()
    assert error[:2] == (line, key)
    assert problem in error[2]


def test_a_condition_that_could_not_be_made_is_one_fault_alone(directory: Directory) -> None:
    directory.write(MILTER + "x\n[conditions]\n[[x]]\nexpression = )\n")
    assert len(directory.errors()) == 1


SEVERAL = {
    "a list and a file of it": (
        SERVER + "whitelist = /(/, file:/nonexistent\n",
        {"conditions.S25R.whitelist": 2},
    ),
    "services": (
        "[conditions]\n[[DNSBL Listed]]\nservices = zen=999, -bad-\n",
        {"conditions.DNSBL Listed.services": 3},
    ),
    "networks": (
        "[conditions]\n[[Remote Network]]\nlocal_addresses = 1.2.3.4/40, ::g\nremote_addresses = x\n",
        {LOCAL: 2, "conditions.Remote Network.remote_addresses": 1},
    ),
    "an expression beside accounts": (
        X + "expression = tls and\naccounts = /(/, a b\n",
        {Y: 1, f"{Y}.expression": 1, f"{Y}.accounts": 2},
    ),
}


@pytest.mark.parametrize(("text", "wanted"), SEVERAL.values(), ids=SEVERAL)
def test_every_fault_of_a_value_is_told_once(directory: Directory, text: str, wanted: dict[str, int]) -> None:
    found = [error.key for error in directory.write(text).errors()]
    assert {key: found.count(key) for key in found} == wanted


def test_name_servers_are_looked_at_once_a_milter_depends_on_them(directory: Directory) -> None:
    text = "[conditions]\ndns_name_servers = nowhere\n[[DNSBL Listed]]\nservices = bl.example.net\n"
    assert directory.write(text).load().config.conditions.dns_name_servers == ("nowhere",)
    assert directory.write(text + MILTER + "DNSBL Listed\n").error()[1] == "conditions.dns_name_servers"


def test_plugins_are_not_read_unless_they_are_switched_on(directory: Directory) -> None:
    directory.write("raise SystemExit('read')\n", "conditions.d/x.py")
    assert "S25R" in directory.config().compiled


def test_a_plugin_that_fails_is_a_fault_with_its_place(directory: Directory) -> None:
    directory.write("\nraise ValueError('no')\n", "conditions.d/x.py")
    directory.write("[conditions]\nplugins = yes\n")
    assert directory.places() == [("x.py", 2)]


@pytest.mark.parametrize("text", ["[[s25r]]\nexpression = tls\n", "[[Mine]]\naccounts = a\n[[mine]]\naccounts = b\n"])
def test_a_condition_that_capitals_alone_tell_from_another_is_a_warning(directory: Directory, text: str) -> None:
    (warning,) = directory.write(f"[conditions]\n{text}").load().warnings
    assert warning.split(": ")[0].endswith(f":{text.count(chr(10))}")
    assert "capitals alone" in warning


def test_an_expression_that_is_never_true_is_a_warning_with_its_place(directory: Directory) -> None:
    text = "[conditions]\n[[x]]\nexpression = size < 10 and size > 100\n"
    (warning,) = directory.write(text).load().warnings
    assert ":3: conditions.x.expression: can never be true: no size is in all of its limits" in warning
