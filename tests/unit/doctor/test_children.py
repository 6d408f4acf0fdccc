"""A child against the milter that is installed under its name, and what starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.base import Detected, Found, Where
from mmgr.detect.tree import Tree
from mmgr.doctor.accounts import Accounts
from mmgr.doctor.children import examine
from mmgr.doctor.findings import Finding
from mmgr.doctor.surroundings import Surroundings

from .test_selinux import Played
from .trees import child

UNIT = Where("/usr/lib/systemd/system/grey.service", 3)
CONF = Where("/etc/mail/greylist.conf", 7)


def detected(spec: str, is_enabled: bool = True, why_not: str = "", where: Where = CONF) -> Detected:
    return Detected("grey", UNIT, Found(spec, where), Found(is_enabled, UNIT), why_not=why_not)


def look(tmp_path: Path, spec: str, *found: Detected, policy: Played | None = None) -> list[Finding]:
    """Of a child that is not there; nobody is probed."""
    tree = Tree()
    around = Surroundings(tree, Accounts(tree), None, False, 1.0, policy, found)
    return list(examine(child("grey", spec.format(tmp_path)), around))


def test_a_milter_that_listens_elsewhere_is_shown_with_its_file_and_line(tmp_path: Path) -> None:
    found = look(tmp_path, "unix:{}/s", detected("inet:2525@localhost"))[-1]
    assert found.text.startswith("listens on inet:2525@localhost, says /etc/mail/greylist.conf:7; ")
    assert found.hint.split("\n")[0] == "# below [milters] [[grey]] write: connection_spec = inet:2525@localhost"


@pytest.mark.parametrize("spec", ["unix:/var/run/grey/s", "unix:/run/grey/s"])
def test_a_milter_that_listens_there_is_not_mentioned(tmp_path: Path, spec: str) -> None:
    assert not [one for one in look(tmp_path, "unix:/run/grey/s", detected(spec)) if "listens on" in one.text]


def test_what_was_only_assumed_is_not_held_against_the_configuration(tmp_path: Path) -> None:
    assumed = detected("unix:/elsewhere", where=Where("the package's default", is_assumed=True))
    assert not [one for one in look(tmp_path, "unix:{}/s", assumed) if "listens on" in one.text]


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ((), "# there is no service grey here: start the milter by what runs it, or write enabled = no"),
        ((detected("unix:/x"),), "systemctl start grey"),
        ((detected("unix:/x", False),), "systemctl enable --now grey"),
        (
            (detected("unix:/x", False, "the unit is masked"),),
            "# /usr/lib/systemd/system/grey.service:3: the unit is masked\nsystemctl enable --now grey",
        ),
    ],
)
def test_a_socket_that_is_missing_comes_with_what_starts_the_milter(
    tmp_path: Path, found: tuple[Detected, ...], hint: str
) -> None:
    assert look(tmp_path, "unix:{}/s", *found)[0].hint == hint


def test_a_path_without_a_slash_is_a_warning(tmp_path: Path) -> None:
    assert [one.level for one in look(tmp_path, "unix:relative/s")] == ["warning"]


def test_a_port_that_selinux_denies_is_an_error(tmp_path: Path) -> None:
    rules = Played(("unconfined_service_t", "unreserved_port_t", "tcp_socket", "name_connect"))
    found = look(tmp_path, "inet:10025@localhost", policy=rules)[0]
    assert (found.level, found.hint) == ("error", "semanage port -a -t milter_port_t -p tcp 10025")


def test_a_service_that_is_there_but_no_known_milter_is_looked_at(tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "grey.service").write_text("[Service]\nExecStart=/bin/x\n")
    tree = Tree(str(tmp_path))
    around = Surroundings(tree, Accounts(tree), None, False, 1.0)
    assert (around.has_unit("grey"), around.has_unit("../system/grey"), around.has_unit("green")) == (
        True,
        False,
        False,
    )


def test_a_child_on_a_port_is_told_of_where_nobody_is_connected(tmp_path: Path) -> None:
    (found,) = look(tmp_path, "inet:10025@localhost")
    assert (found.level, found.text.split(",")[0]) == ("note", "listens on inet:10025@localhost")
