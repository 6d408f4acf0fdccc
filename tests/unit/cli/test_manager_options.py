"""The command line of the daemon: the incumbent's names, and what they become in the configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from mmgr import __version__
from mmgr.cli import options
from mmgr.errors import EndpointError


def given(*arguments: str) -> argparse.Namespace:
    return options.parser().parse_args(arguments)


OVERRIDES: dict[str, dict[str, str]] = {
    "-s unix:/run/m.sock": {"manager.connection_spec": "unix:/run/m.sock"},
    "--connection-spec inet:10025@[127.0.0.1]": {"manager.connection_spec": "inet:10025@[127.0.0.1]"},
    "--control-spec unix:/run/c.sock": {"controller.connection_spec": "unix:/run/c.sock"},
    "--unix-socket-mode 0600": {"manager.unix_socket_mode": "0600"},
    "--unix-socket-group postfix": {"manager.unix_socket_group": "postfix"},
    "--socket-group-name postfix": {"manager.unix_socket_group": "postfix"},
    "--daemon": {"manager.daemon": "yes"},
    "--no-daemon": {"manager.daemon": "no"},
    "--daemon --no-daemon": {"manager.daemon": "no"},
    "--pid-file /run/m.pid": {"manager.pid_file": "/run/m.pid"},
    "-u mail": {"security.effective_user": "mail"},
    "--user mail": {"security.effective_user": "mail"},
    "--user-name mail": {"security.effective_user": "mail"},
    "--user-id 8": {"security.effective_user": "8"},
    "-g mail": {"security.effective_group": "mail"},
    "--group mail": {"security.effective_group": "mail"},
    "--group-name mail": {"security.effective_group": "mail"},
    "--group-id 8": {"security.effective_group": "8"},
    "--n-workers 0": {"workers.n_workers": "0"},
    "--n-workers 7": {"workers.n_workers": "7"},
    "--log-path -": {"log.path": "-"},
    "--log-path /var/log/m.log": {"log.path": "/var/log/m.log"},
    "-v": {"log.level": "debug"},
    "--verbose": {"log.level": "debug"},
    "-q": {"log.level": "error"},
    "--quiet": {"log.level": "error"},
    "--syslog": {"log.use_syslog": "yes"},
    "--syslog-facility local0": {"log.syslog_facility": "local0"},
    "-v --log-level info": {"log.level": "info"},
    "-c /etc/m --show-config --check-config --samples --root /mnt": {},
    "": {},
    "-u mail -g mail -s inet:10025": {
        "manager.connection_spec": "inet:10025",
        "security.effective_user": "mail",
        "security.effective_group": "mail",
    },
}


@pytest.mark.parametrize("line", OVERRIDES)
def test_an_option_overrides_its_key_and_no_other(line: str) -> None:
    assert options.overrides(given(*line.split())) == OVERRIDES[line]


def test_an_empty_word_is_no_option() -> None:
    assert options.overrides(given("", "-v")) == {"log.level": "debug"}


def test_a_word_that_is_no_option_is_refused() -> None:
    with pytest.raises(SystemExit):
        given("word")


def test_every_option_is_in_the_tables() -> None:
    tried = {word for line in OVERRIDES for word in line.split() if word.startswith("-") and word != "-"}
    tried |= {"-h", "--help", "--version", "--config-dir", "--log-level", *options._IGNORED}
    assert set(options.parser()._option_string_actions) == tried


LEVELS = {
    "none": "error",
    "critical": "error",
    "error": "error",
    "warning": "warning",
    "default": "info",
    "message": "info",
    "statistics": "info",
    "info": "info",
    "debug": "debug",
    "profile": "debug",
    "trace": "debug",
    "all": "debug",
    "error|warning": "warning",
    "critical|debug|info": "debug",
    "+info|-warning": "info",
    " error | message ": "info",
}


@pytest.mark.parametrize("name", LEVELS)
def test_the_old_names_of_levels_become_ours(name: str) -> None:
    assert options.overrides(given("--log-level", name)) == {"log.level": LEVELS[name]}


@pytest.mark.parametrize("name", ["", "loud", "error|loud", "INFO"])
def test_a_level_that_nobody_knows_is_a_fault_of_usage(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        given("--log-level", name)
    assert ended.value.code == 2
    assert "is none of none, critical" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--conf", "x"], ["--sys"], ["--no-such"], ["word"], ["-s"]])
def test_what_is_no_option_is_a_fault_of_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        given(*arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("spec", ["", "m.sock", "unix:", "inet:0", "tcp:1@h"])
def test_a_spec_that_is_none_is_refused_naming_the_option(spec: str) -> None:
    with pytest.raises(EndpointError, match=r"^-s: "):
        options.overrides(given("-s", spec))


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        given("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"milter-manager {__version__}\n"


@pytest.mark.parametrize("name", options._IGNORED)
def test_an_option_without_a_meaning_is_taken_with_a_warning(name: str) -> None:
    (warning,) = options.warnings(given(name, "7"))
    assert warning.startswith(f"option {name} has no effect: ")


def test_options_with_a_meaning_warn_of_nothing() -> None:
    assert list(options.warnings(given("-s", "inet:1", "-v", "--daemon"))) == []


# ---- where the configuration is


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default directory, which is not there yet; and no environment."""
    monkeypatch.setattr(options, "DEFAULT_DIRECTORY", str(tmp_path / "etc"))
    monkeypatch.delenv(options.DIRECTORY_VARIABLE, raising=False)
    return tmp_path / "etc"


def test_the_directory_that_was_asked_for_comes_first(default: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default.mkdir()
    monkeypatch.setenv(options.DIRECTORY_VARIABLE, "/from/environment")
    assert options.configuration_directory(given("-c", "/asked/for")) == "/asked/for"


def test_the_environments_directory_comes_second(default: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default.mkdir()
    monkeypatch.setenv(options.DIRECTORY_VARIABLE, "/from/environment")
    assert options.configuration_directory(given()) == "/from/environment"


def test_the_default_directory_comes_last(default: Path) -> None:
    default.mkdir()
    assert options.configuration_directory(given()) == str(default)


@pytest.mark.usefixtures("default")
def test_without_any_directory_there_is_none() -> None:
    assert options.configuration_directory(given()) is None


def test_an_empty_variable_is_no_directory(default: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(options.DIRECTORY_VARIABLE, "")
    assert options.configuration_directory(given()) is None
