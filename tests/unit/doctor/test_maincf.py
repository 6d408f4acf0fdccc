"""main.cf and master.cf as postconf(5) and master(5) have them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.doctor.maincf import VALUE_CHARACTERS_MAX, Logical, MainCf, Service, parse_main, parse_master, seconds, words


def main(text: str) -> MainCf:
    return parse_main(text.split("\n"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a = b", "b"),
        ("a=b\na = c", "c"),
        ("a = b\n c\n\td", "b c d"),
        ("a = b\n# a comment\n\n c", "b c"),
        ("a = b  ", "b"),
        ("  # no\na = b # not a comment", "b # not a comment"),
        ("x = y\na = 1$x 2${x} 3$(x)", "1y 2y 3y"),
        ("a = $$x", "$x"),
        ("a = [$nothing]", "[]"),
        ("x = y\na = ${x?yes}${x:no}", "yesy"),
        ("a = ${x?yes}${x:no}", "no"),
        ("x = y\na = ${x?{yes}:{no}}", "yes"),
        ("a = ${x?{yes}:{no}}", "no"),
        ("x = $y\ny = z\na = $x", "z"),
        ("a = $queue_directory", "/var/spool/postfix"),
        ("a = ${{1} < {2} ? {x} : {y}}", "${{1} < {2} ? {x} : {y}}"),
        ("a = 5 $", "5 $"),
        ("a", ""),
    ],
)
def test_a_value_is_what_postfix_makes_of_it(text: str, value: str) -> None:
    assert main(text).value("a") == value


def test_a_value_that_names_itself_comes_to_an_end() -> None:
    assert len(main("a = $b $b\nb = $a $a").value("a")) < 70000


def test_the_line_of_a_value_is_its_first_one() -> None:
    assert main("x = y\n\na = b\n c\nz = 1").where("a") == 3


@pytest.mark.parametrize(
    ("text", "value"), [("30", 30), ("30s", 30), ("5m", 300), ("2H", 7200), ("1d", 86400), ("soon", None), ("", None)]
)
def test_a_time_is_counted_in_seconds(text: str, value: float | None) -> None:
    assert seconds(text) == value


MASTER = """\
# service type  private unpriv  chroot  wakeup  maxproc command
smtp      inet  n       -       y       -       -       smtpd
submission inet n       -       n       -       -       smtpd
  -o smtpd_milters=unix:/a,unix:/b
  -osyslog_name=x
  -o { milter_connect_macros = j {daemon_name} v }
10025 inet n - - - - smtpd -o smtpd_milters=
short inet n
"""


def test_services_have_their_own_values() -> None:
    smtp, submission, again = parse_master(MASTER.split("\n"))
    overrides = {
        "smtpd_milters": "unix:/a,unix:/b",
        "syslog_name": "x",
        "milter_connect_macros": "j {daemon_name} v",
    }
    assert smtp == Service("smtp", "inet", "y", "smtpd", {})
    assert submission == Service("submission", "inet", "n", "smtpd", overrides)
    assert (again.chroot, again.overrides) == ("-", {"smtpd_milters": ""})


def test_the_later_of_two_services_wins() -> None:
    (found,) = parse_master(["a inet n - y - - smtpd", "a inet n - n - - smtpd"])
    assert found.chroot == "n"


@given(st.text(alphabet="a=$-{}()?: \n\t#o,\udcff", max_size=200))
def test_whatever_stands_there_is_read(text: str) -> None:
    found = main(text)
    assert all(isinstance(found.value(name), str) for name in found.values)


@given(st.lists(st.text(alphabet="a=$-{}()?: \t#o", max_size=60), max_size=5))
def test_whatever_stands_in_a_master_cf_is_read(lines: list[str]) -> None:
    assert all(service.command for service in parse_master([f"a inet n - - - - smtpd {line}" for line in lines]))


@pytest.mark.parametrize("text", ["$$" * 500000, "${" * 500000, "$(a" * 300000, "{" * 1000000, "$b" * 500000])
def test_a_value_as_long_as_a_file_may_be_is_cut(text: str) -> None:
    assert len(MainCf({"a": Logical(text, 1)}).value("a")) <= VALUE_CHARACTERS_MAX


def test_words_in_braces_stay_together() -> None:
    assert words("a, {b, {c d}} e", ", ") == ["a", "{b, {c d}}", "e"]
