from __future__ import annotations

import pytest

from mmgr.detect.milters.greylist_conf import Greylist, read_greylist, statements

from .grammars import PATH, lines

FULL = """
    # what the package ships, and what an administrator made of it
    #socket "/run/commented.sock"
    pidfile "/run/milter-greylist.pid"
    socket "/run/milter-greylist/milter-greylist.sock" 660
    dumpfile "/var/lib/milter-greylist/db/greylist.db" 600
    dumpfreq 1
    user "grmilter:mail"
    quiet
    list "my network" addr { 127.0.0.1/8 10.0.0.0/8 192.168.0.0/16 }
    list "broken mta" addr {   \\
        12.5.136.141/32    \\ # Southwest Airlines
        64.12.137.0/24     \\
    }
    racl whitelist list "my network"
    racl "slow" greylist from /.*#"@example/ tarpit 15s delay 5m
    racl greylist domain "dialup" tarpit 2m autowhite 3d
    racl whitelist default
"""


def read(text: str) -> Greylist:
    return read_greylist(lines(text))


def test_a_whole_file_says_its_socket_and_line() -> None:
    socket = read(FULL).socket
    assert socket is not None
    assert (socket.value, str(socket.where)) == ("/run/milter-greylist/milter-greylist.sock", f"{PATH}:4")


def test_a_whole_file_says_the_mode_of_the_socket() -> None:
    mode = read(FULL).mode
    assert mode is not None
    assert mode.value == "660"


def test_a_whole_file_says_its_user() -> None:
    user = read(FULL).user
    assert user is not None
    assert user.value == "grmilter:mail"


def test_the_longest_tarpit_counts_with_its_line() -> None:
    tarpit = read(FULL).tarpit_s
    assert tarpit is not None
    assert (tarpit.value, str(tarpit.where)) == (120.0, f"{PATH}:16")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("2m", 120), ("1h", 3600), ("1d", 86400), ("1w", 604800)],
)
def test_a_tarpit_has_a_unit(text: str, seconds: int) -> None:
    tarpit = read(f"RACL greylist default Tarpit {text}").tarpit_s
    assert tarpit is not None
    assert tarpit.value == seconds


@pytest.mark.parametrize(
    "text",
    [
        "tarpit 5m",
        "racl greylist default # tarpit 5m",
        'racl whitelist from "tarpit" 5m',
        "racl greylist tarpit",
        "racl greylist tarpit 5x",
        "tarpit_scope session",
    ],
)
def test_what_is_no_tarpit_of_an_access_list_does_not_count(text: str) -> None:
    assert read(text).tarpit_s is None


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ('socket "/a"', "/a"),
        ('SOCKET: "/a"', "/a"),
        ('socket "/a" # c', "/a"),
        ('socket \\\n "/a"', "/a"),
        ('socket \\ anything here\n "/a" 666', "/a"),
        ('socket "/a"\nsocket "inet:3333@127.0.0.1"', "inet:3333@127.0.0.1"),
        ('socket "/a \\" b"', '/a " b'),
        ('socket "/half edited', "/half edited"),
        ('racl blacklist from /"#/\nsocket "/a"', "/a"),
    ],
)
def test_a_socket_is_found_in_any_notation(text: str, socket: str) -> None:
    read_socket = read(text).socket
    assert read_socket is not None
    assert read_socket.value == socket


@pytest.mark.parametrize("text", ["", "socket", '#socket "/a"', '"socket" "/a"', 'quiet # \\\nsocketx "/a"'])
def test_without_a_statement_there_is_no_socket(text: str) -> None:
    assert read(text).socket is None


def test_a_backslash_in_a_comment_does_not_join_lines() -> None:
    assert len(list(statements(lines("quiet # \\\nverbose")))) == 2
