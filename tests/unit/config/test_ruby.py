"""A file of milter manager 2 is told from one of ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.config.loader import load
from mmgr.config.ruby import ruby_line, section_line
from mmgr.errors import ConfigErrors

RUBY = [
    'define_milter("x") do |milter|\nend',
    'manager.connection_spec = "inet:10025@localhost"',
    "manager.connection_spec = 'inet:10025@localhost'",
    "manager.unix_socket_mode = 0660",
    "manager.daemon = true",
    'load_if_exist("x.conf")',
    'load "x.conf"',
    "load_default",
    "s25r.add_whitelist(/x/)",
    "remove_milter('x')",
    'define_applicable_condition("x") do |condition|\nend',
]

NO_RUBY = [
    "",
    "# define_milter",
    "[manager]\ndaemon = yes",
    "what?",
    "manager.daemon = yes",
    "load = yes",
    '[manager]\nconnection_spec = "inet:10025"\ndefine_milter("x") do |milter|',
    'manager.connection_spec = "inet:10025"\n[milters]\n',
]


@pytest.mark.parametrize("text", RUBY)
def test_ruby_is_recognised_with_its_line(text: str) -> None:
    assert ruby_line(f"# -*- ruby -*-\n\n  {text}\r\n".encode()) == 3


@pytest.mark.parametrize("text", NO_RUBY)
def test_what_may_be_ours_is_not_taken_for_ruby(text: str) -> None:
    assert ruby_line(text.encode()) == 0


def test_the_sample_is_no_ruby() -> None:
    sample = Path(__file__).resolve().parents[3] / "etc" / "milter-manager.conf"
    assert ruby_line(sample.read_bytes()) == 0


@given(st.binary(max_size=300))
def test_any_bytes_have_a_line_of_their_own_or_none(data: bytes) -> None:
    assert 0 <= ruby_line(data) <= data.count(b"\n") + 1


def test_the_first_section_has_its_line() -> None:
    assert section_line("# x\n\n [ milters ] # y\n[manager]\n") == 3


def test_a_ruby_file_is_one_error_that_names_the_program_that_translates_it(tmp_path: Path) -> None:
    file = tmp_path / "milter-manager.local.conf"
    file.write_text('# old\nmanager.connection_spec = "inet:10025@localhost"\ndefine_milter("x") do |m|\nend\n')
    with pytest.raises(ConfigErrors) as caught:
        load(str(tmp_path), {"package.detection": "no"})
    (error,) = caught.value.errors
    assert (error.path, error.line, "run milter-manager-import" in error.hint) == (str(file), 2, True)
