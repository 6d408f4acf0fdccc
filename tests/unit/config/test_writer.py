"""``mmgr.config.writer``: what ``--show-config`` prints, and that it reads back as what it was printed from."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from configobj import ConfigObj
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mmgr.conditions.builtin import BUILT_IN
from mmgr.config.checks import check
from mmgr.config.loader import load
from mmgr.config.model import (
    ChildSettings,
    Config,
    EnvelopeDispatch,
    FallbackStatus,
    LogSettings,
    ManagerSettings,
    Origin,
    Overload,
    PackageSettings,
    SecuritySettings,
    WorkerSettings,
)
from mmgr.config.values import ValueRefused, check_child_name, prose, text
from mmgr.config.writer import quoted, show
from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import EndpointError
from tests.support.configuration import Directory


def passes(check: Any, value: str) -> bool:
    try:
        check(value)
    except (ValueRefused, EndpointError):
        return False
    return True


def without_places(config: Config) -> Config:
    return dataclasses.replace(config, origins={}, directory=None)


ODD = st.text("ab \"',#=[]%$\\\u00e9\t/:@-", max_size=12) | st.text(max_size=12)
LINES = ODD.filter(lambda value: passes(text, value))
PROSE = st.lists(ODD, max_size=3).map("\n".join).filter(lambda value: passes(prose, value))
CHILD_NAMES = (st.text("ab\"',#=[]%\u00e9.", min_size=1, max_size=6) | st.text(min_size=1, max_size=6)).filter(
    lambda name: passes(check_child_name, name)
)
SECONDS = st.floats(0, 86400, exclude_min=True)
HOSTS = st.sampled_from(["", "mx.example.net", "192.0.2.7", "192.0.2.8"])


def written_in_a_list(path: str) -> bool:
    return not ('"' in path and "'" in path) and passes(text, path) and passes(parse_endpoint, f"unix:{path}")


UNIX = st.builds(Endpoint, st.just("unix"), path=ODD.filter(written_in_a_list))
INET = st.builds(Endpoint, st.just("inet"), host=HOSTS, port=st.integers(1, 65535))
INET6 = st.builds(Endpoint, st.just("inet6"), host=st.sampled_from(["", "2001:db8::1"]), port=st.integers(1, 65535))
SOCKETS = st.lists(UNIX | INET | INET6, min_size=1, max_size=3, unique=True).map(tuple)
STATUS = st.sampled_from(FallbackStatus)
PAIRS = LINES.filter(lambda value: not set(value) & set(",'\"")).map(lambda value: f"k={value}".strip())
CHILDREN = st.builds(
    ChildSettings,
    name=CHILD_NAMES,
    connection_spec=SOCKETS,
    description=PROSE,
    enabled=st.booleans(),
    fallback_status=STATUS,
    evaluation_mode=st.booleans(),
    applicable_conditions=st.lists(st.sampled_from(list(BUILT_IN)), max_size=3, unique=True).map(tuple),
    connection_timeout_s=SECONDS,
    writing_timeout_s=SECONDS,
    reading_timeout_s=SECONDS,
    end_of_message_timeout_s=SECONDS,
)
CONFIGS = st.builds(
    Config,
    package=st.builds(PackageSettings, st.booleans(), LINES, st.lists(PAIRS, max_size=2).map(tuple)),
    security=st.builds(SecuritySettings, LINES, LINES),
    log=st.builds(LogSettings, st.sampled_from(["error", "debug"]), LINES, st.booleans(), st.just("local7")),
    manager=st.builds(
        ManagerSettings,
        connection_spec=SOCKETS,
        unix_socket_mode=st.integers(0, 0o777),
        unix_socket_group=LINES,
        remove_unix_socket_on_create=st.booleans(),
        remove_unix_socket_on_close=st.booleans(),
        daemon=st.booleans(),
        pid_file=LINES,
        fallback_status=STATUS,
        envelope_dispatch=st.sampled_from(EnvelopeDispatch),
        chunk_size_bytes=st.integers(1, 65535),
        spool_threshold_bytes=st.integers(0, 1073741824),
        spool_directory=LINES,
    ),
    workers=st.builds(
        WorkerSettings,
        n_workers=st.integers(0, 1000),
        min_spare=st.integers(1, 12),
        max_spare=st.integers(12, 1000),
        max_workers=st.integers(0, 1000),
        overload=st.sampled_from(Overload),
        max_sessions=st.integers(0, 10**9),
        max_age_s=st.integers(0, 31536000),
        max_memory_bytes=st.integers(0, 2**40),
        hang_timeout_s=SECONDS,
        drain_timeout_s=SECONDS,
    ),
    children=st.lists(CHILDREN, max_size=3, unique_by=lambda child: child.name).map(tuple),
)


@given(CONFIGS)
@settings(suppress_health_check=list(HealthCheck), deadline=None)
def test_what_is_shown_reads_back_as_the_same_configuration(directory: Directory, config: Config) -> None:
    assume(not any(finding.is_error for finding in check(config)))
    directory.write(show(config))
    assert without_places(directory.config()) == config


@given(PROSE)
def test_config_obj_reads_a_quoted_text_as_it_was(value: str) -> None:
    lines = f"[s]\nx = {quoted(value)}\ny = 1".split("\n")
    assert ConfigObj(lines, interpolation=False)["s"] == {"x": value, "y": "1"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", '""'),
        ("unix:/run/x.sock", "unix:/run/x.sock"),
        ("inet6:1@[::1]", "inet6:1@[::1]"),
        ("two words", "two words"),
        (" a", '" a"'),
        ("a, b", '"a, b"'),
        ("a # b", '"a # b"'),
        ('say "a"', "'say \"a\"'"),
        ('it\'s "a"', '"""it\'s "a""""'),
        ('"""\n', "'''\"\"\"\n'''"),
    ],
)
def test_text_is_quoted_where_it_has_to_be(value: str, expected: str) -> None:
    assert quoted(value) == expected


def test_a_value_that_was_not_set_is_a_default() -> None:
    assert "# default\nchunk_size = 65535\n" in show(Config())


def test_a_value_of_a_file_says_its_line(directory: Directory) -> None:
    directory.write("[manager]\nchunk_size = 5\n")
    assert f"# {directory.path}/milter-manager.conf:2\nchunk_size = 5\n" in show(directory.config())


def test_a_value_of_the_command_line_says_so() -> None:
    assert "# command line\nchunk_size = 5\n" in show(load(None, {"manager.chunk_size": "5"}).config)


def test_a_value_of_a_milter_says_its_line(directory: Directory) -> None:
    directory.write("[milters]\n[[a]]\nconnection_spec = unix:/a\n")
    shown = show(directory.config())
    assert (
        f"[[a]]\n# {directory.path}/milter-manager.conf:3\nconnection_spec = unix:/a\n# default\ndescription" in shown
    )


def test_an_origin_can_not_break_out_of_its_comment() -> None:
    config = Config(origins={"manager.daemon": Origin("/a\ndaemon = yes:1")})
    assert "# /a\\ndaemon = yes:1\ndaemon = no\n" in show(config)


def test_milters_are_shown_in_their_order(directory: Directory) -> None:
    directory.write("[milters]\n[[b]]\nconnection_spec = unix:/b\n[[a]]\nconnection_spec = unix:/a\n")
    shown = show(directory.config())
    assert shown.index("[[b]]") < shown.index("[[a]]")


def test_modes_are_shown_in_octal_and_durations_as_numbers() -> None:
    shown = show(Config())
    assert ("unix_socket_mode = 0660\n" in shown, "drain_timeout = 300.0\n" in shown) == (True, True)


def test_several_sockets_are_shown_as_a_list() -> None:
    shown = show(load(None, {"manager.connection_spec": "inet:1,inet6:2@[::1]"}).config)
    assert "connection_spec = inet:1, inet6:2@[::1]\n" in shown


def test_the_defaults_read_back_as_the_defaults(directory: Directory) -> None:
    assert without_places(directory.write(show(Config())).config()) == Config()


def test_what_is_shown_twice_is_the_same_but_for_its_origins(tmp_path: Path) -> None:
    first = show(load(None, {"milters.a.connection_spec": "unix:/a"}).config)
    second = show(Directory(tmp_path).write(first).config())
    assert re.sub("^#.*$", "", first, flags=re.MULTILINE) == re.sub("^#.*$", "", second, flags=re.MULTILINE)
