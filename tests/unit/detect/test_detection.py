"""``mmgr.detect.detection``: whole machines, and trees that somebody broke."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Union

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as examples
from hypothesis import strategies as st

from mmgr.detect import registry
from mmgr.detect.base import Detected, Detection, Found, Where
from mmgr.detect.candidate import Candidate, Platform, Reading, Service
from mmgr.detect.detection import detect
from mmgr.detect.tree import Tree, Unreadable
from mmgr.endpoint import parse_endpoint

from .machines import ADMIN, CLAMAV_AS_PACKAGED, GREYLIST_UNIT, VENDOR, debian12, el8, el9
from .trees import NULL, Content, Link, by_name, enabled, plant, socket, socket_where

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "detection.md"
SPAM = ("Remote Network", "Unauthenticated", "No Stress")
GREYLIST = ("Sendmail Compatible", "Stress Notify", "Trust", "Remote Network", "S25R", "Unauthenticated")


def found(root: Path, files: dict[str, Content]) -> Detection:
    plant(root, files)
    return detect(str(root))


def used(detection: Detection) -> list[tuple[str, str]]:
    return [(each.name, socket(each)) for each in detection.milters if each.is_enabled.value]


def one(root: Path, files: dict[str, Content], name: str) -> Detected:
    return by_name(found(root, files))[name]


# ---- whole machines


def test_the_walk_through_for_el_8_leads_to_three_milters_in_the_incumbents_order(tmp_path: Path) -> None:
    detection = found(tmp_path, el8())
    assert (detection.platform, used(detection)) == (
        "redhat8",
        [
            ("milter-greylist", "unix:/run/milter-greylist/milter-greylist.sock"),
            ("clamav-milter", "unix:/run/clamav-milter/clamav-milter.socket"),
            ("spamass-milter", "unix:/run/spamass-milter/postfix/sock"),
        ],
    )


def test_the_walk_through_for_el_8_leaves_no_problem(tmp_path: Path) -> None:
    assert found(tmp_path, el8()).problems == ()


def test_each_socket_says_where_it_stands(tmp_path: Path) -> None:
    detection = by_name(found(tmp_path, el8()))
    assert {name: socket_where(detection[name]) for name in ("milter-greylist", "clamav-milter", "spamass-milter")} == {
        "milter-greylist": "/etc/mail/greylist.conf:2",
        "clamav-milter": "/etc/mail/clamav-milter.conf:2",
        "spamass-milter": "/etc/sysconfig/spamass-milter-postfix:1",
    }


def test_without_the_package_for_postfix_the_socket_of_spamass_milter_is_that_of_its_unit(tmp_path: Path) -> None:
    files = el8()
    del files["/etc/sysconfig/spamass-milter-postfix"]
    milter = one(tmp_path, files, "spamass-milter")
    assert (socket(milter), socket_where(milter)) == (
        "unix:/run/spamass-milter/spamass-milter.sock",
        f"{VENDOR}/spamass-milter.service:9",
    )


def test_milters_that_are_not_enabled_are_shown_with_their_sockets(tmp_path: Path) -> None:
    detection = by_name(found(tmp_path, el8()))
    assert {
        name: (socket(detection[name]), detection[name].is_enabled.value) for name in ("opendkim", "opendmarc")
    } == {
        "opendkim": ("unix:/run/opendkim/opendkim.sock", False),
        "opendmarc": ("unix:/run/opendmarc/opendmarc.sock", False),
    }


def test_el_9_follows_the_drop_in_and_the_local_settings_of_rspamd(tmp_path: Path) -> None:
    detection = found(tmp_path, el9())
    assert (detection.platform, used(detection)) == (
        "redhat9",
        [
            ("milter-greylist", "inet:2525@127.0.0.1"),
            ("clamav-milter", "unix:/run/clamav-milter/clamav-milter.socket"),
            ("spamass-milter", "unix:/run/spamass-milter/postfix/sock"),
            ("opendkim", "inet:8891@localhost"),
            ("opendmarc", "unix:/run/opendmarc/opendmarc.sock"),
            ("rspamd", "unix:/run/rspamd/milter.sock"),
        ],
    )


def test_debian_follows_scripts_where_there_is_no_unit_and_units_where_there_is_one(tmp_path: Path) -> None:
    detection = found(tmp_path, debian12())
    assert (detection.platform, used(detection)) == (
        "debian",
        [
            ("clamav-milter", "unix:/run/clamav/clamav-milter.ctl"),
            ("opendkim", "unix:/run/opendkim/opendkim.sock"),
            ("spamass-milter", "unix:/var/spool/postfix/spamass/spamass.sock"),
        ],
    )


def test_debian_does_not_enable_a_disabled_unit_because_of_its_script(tmp_path: Path) -> None:
    assert not one(tmp_path, debian12(), "rspamd").is_enabled.value


@pytest.mark.skipif(not os.path.exists("/etc/init.d/spamass-milter"), reason="spamass-milter is not installed here")
def test_the_spamass_milter_of_this_machine_is_found() -> None:
    milter = by_name(detect())["spamass-milter"]
    assert socket(milter).endswith("/spamass.sock")


# ---- what takes a milter out


def test_disabling_a_unit_is_enough_to_take_it_out(tmp_path: Path) -> None:
    plant(tmp_path, el8())
    os.unlink(tmp_path / "etc/systemd/system/multi-user.target.wants/clamav-milter.service")
    milter = by_name(detect(str(tmp_path)))["clamav-milter"]
    assert (milter.is_enabled.value, milter.why_not.split(":")[0]) == (False, "disabled")


def test_masking_a_unit_takes_it_out(tmp_path: Path) -> None:
    milter = one(tmp_path, {**el8(), f"{ADMIN}/clamav-milter.service": Link(NULL)}, "clamav-milter")
    assert (milter.is_enabled.value, milter.why_not) == (False, f"masked by {ADMIN}/clamav-milter.service")


def test_a_milter_whose_own_settings_keep_it_from_starting_is_out_and_says_where(tmp_path: Path) -> None:
    milter = one(tmp_path, {**el8(), "/etc/mail/clamav-milter.conf": CLAMAV_AS_PACKAGED}, "clamav-milter")
    assert (milter.is_enabled.value, str(milter.is_enabled.where)) == (False, "/etc/mail/clamav-milter.conf:2")
    assert "Example" in milter.why_not


def test_two_units_at_one_socket_are_a_problem(tmp_path: Path) -> None:
    detection = found(tmp_path, {**el8(), **enabled("spamass-milter-root.service")})
    assert [problem.text for problem in detection.problems] == [
        "listens at unix:/run/spamass-milter/postfix/sock, as spamass-milter does"
    ]


# ---- conditions and order


def test_the_conditions_are_the_incumbents(tmp_path: Path) -> None:
    detection = by_name(found(tmp_path, el9()))
    assert {name: detection[name].conditions for name in detection if name != "opendmarc"} == {
        "milter-greylist": GREYLIST,
        "clamav-milter": (),
        "spamass-milter": SPAM,
        "spamass-milter-root": SPAM,
        "opendkim": (),
        "rspamd": SPAM,
    }


@pytest.mark.parametrize("name", ["opendmarc", "pyspf-milter", "smf-spf"])
def test_milters_that_verify_see_none_of_our_own_users(name: str) -> None:
    kind = registry.candidate((name,))
    assert kind is not None
    assert "Unauthenticated" in kind.conditions


@pytest.mark.parametrize("family", registry.ORDER)
def test_every_known_milter_has_its_place_in_the_order(family: str) -> None:
    names = {name for kind in registry.CANDIDATES for name in kind.names}
    assert names - set(registry.ORDER[family]) == set()


INCUMBENT = {
    "redhat": "milter-greylist clamav-milter enma spamass-milter amavisd-milter opendkim rspamd",
    "debian": "milter-greylist spfmilter clamav-milter dkim-filter opendkim spamass-milter amavisd-new-milter rspamd",
    "freebsd": (
        "milter-greylist milter-enma milter-sid clamav-milter milter-dkim milter-opendkim spamass-milter "
        "amavis-milter rspamd"
    ),
    "pkgsrc": "milter-greylist mimedefang enma dk-milter dkim-filter spamass-milter amavismilter milter-regex",
}


@pytest.mark.parametrize("family", INCUMBENT)
def test_the_milters_that_the_incumbent_knew_keep_its_order(family: str) -> None:
    known = INCUMBENT[family].split()
    platform = Platform(family, family)
    assert sorted(known, key=lambda name: registry.place(platform, (name,))) == known


def test_no_name_belongs_to_two_kinds() -> None:
    names = [name for kind in registry.CANDIDATES for name in kind.names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", registry.CANDIDATES, ids=lambda kind: kind.names[0])
def test_every_known_milter_stands_in_the_documentation_with_its_conditions(kind: Candidate) -> None:
    rows = [row for row in DOCUMENT.read_text("utf-8").splitlines() if row.startswith("| ")]
    conditions = ", ".join(kind.conditions) or "none"
    described = [row for row in rows if any(f"`{name}`" in row for name in kind.names)]
    assert [row.rstrip(" |").endswith(f"| {conditions}") for row in described] == [True] * len(described)
    assert [name for name in kind.names if not any(f"`{name}`" in row for row in described)] == []


def test_a_unit_under_another_name_is_known_by_its_alias(tmp_path: Path) -> None:
    files = el8()
    del files[f"{VENDOR}/milter-greylist.service"]
    files[f"{VENDOR}/greylist.service"] = GREYLIST_UNIT
    files[f"{ADMIN}/milter-greylist.service"] = Link(f"{VENDOR}/greylist.service")
    detection = found(tmp_path, files)
    assert (detection.milters[0].name, detection.milters[0].conditions) == ("greylist", GREYLIST)


def test_an_instance_gets_what_its_template_gets(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        **el8(),
        f"{VENDOR}/spamass-milter@.service": "[Service]\nExecStart=/usr/sbin/spamass-milter -p /run/%i.sock\n",
        **enabled("spamass-milter@a.service", of="spamass-milter@.service"),
    }
    detection = found(tmp_path, files)
    milter = by_name(detection)["spamass-milter@a"]
    assert (socket(milter), milter.conditions) == ("unix:/run/a.sock", SPAM)
    names = [each.name for each in detection.milters]
    assert names.index("spamass-milter@a") == names.index("spamass-milter") + 1


# ---- what goes wrong


Outcome = Union[Exception, Reading]


@pytest.fixture
def outcome(monkeypatch: pytest.MonkeyPatch) -> list[Outcome]:
    """What detection of spamass-milter comes to, be it raised or returned; the test puts it into the list."""
    outcomes: list[Outcome] = []

    def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]
        return outcomes[0]

    names = ("spamass-milter", "spamass-milter-root")
    kind = Candidate(names, examine, default_sockets={"": "unix:/other", "redhat": "unix:/default"})
    others = tuple(each for each in registry.CANDIDATES if "spamass-milter" not in each.names)
    monkeypatch.setattr(registry, "CANDIDATES", (*others, kind))
    return outcomes


def test_a_detector_that_fails_is_reported_and_the_others_stay(tmp_path: Path, outcome: list[Outcome]) -> None:
    outcome.append(IndexError("list index out of range"))
    detection = found(tmp_path, el8())
    assert [name for name, _ in used(detection)] == ["milter-greylist", "clamav-milter"]
    assert {(problem.milter, problem.text) for problem in detection.problems} == {
        ("spamass-milter", "detection failed: IndexError: list index out of range"),
        ("spamass-milter-root", "detection failed: IndexError: list index out of range"),
    }


def test_settings_that_can_not_be_read_leave_the_default_of_the_package(tmp_path: Path, outcome: list[Outcome]) -> None:
    outcome.append(Unreadable("/etc/x.conf", "can't be read", "change its mode"))
    detection = found(tmp_path, el8())
    spec = by_name(detection)["spamass-milter"].connection_spec
    assert spec is not None
    assert (spec.value, spec.where.is_assumed) == ("unix:/default", True)
    assert (str(detection.problems[0].where), detection.problems[0].hint) == ("/etc/x.conf", "change its mode")


def test_an_enabled_milter_without_a_socket_is_out_with_a_problem(tmp_path: Path, outcome: list[Outcome]) -> None:
    outcome.append(Reading())
    detection = found(tmp_path, el8())
    milter = by_name(detection)["spamass-milter"]
    assert (milter.is_enabled.value, milter.why_not) == (False, "nothing says where it listens")
    assert [problem.milter for problem in detection.problems] == ["spamass-milter"]


@pytest.mark.parametrize("spec", ["unix:relative/../x" + "y" * 200, "nonsense", "inet:99999@x", "unix:/a\nb"])
def test_a_socket_that_is_none_is_a_problem(tmp_path: Path, outcome: list[Outcome], spec: str) -> None:
    outcome.append(Reading(Found(spec, Where("/etc/x", 3))))
    detection = found(tmp_path, el8())
    assert by_name(detection)["spamass-milter"].connection_spec is None
    assert "/etc/x:3" in [str(problem.where) for problem in detection.problems]


NOBODY = 65534


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/etc/mail/greylist.conf", "milter-greylist"),
        ("/etc/opendkim.conf", "opendkim"),
        ("/etc/sysconfig/spamass-milter-postfix", "spamass-milter"),
        ("/etc/mail/clamav-milter.conf", "clamav-milter"),
    ],
)
def test_a_file_that_we_may_not_read_is_a_problem_with_a_hint(open_to_all: Path, path: str, name: str) -> None:
    plant(open_to_all, el8())
    os.chmod(open_to_all / path.lstrip("/"), 0)
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        detection = detect(str(open_to_all))
    finally:
        os.seteuid(before)
    problems = [problem for problem in detection.problems if problem.milter == name and problem.where.path == path]
    assert ["setfacl" in problem.hint for problem in problems] == [True]


BROKEN: dict[str, Content] = {
    "not UTF-8": b"\xff\xfeSocket \xe9\n[Service]\nExecStart=/\xe9 -p unix:/\xe9\n",
    "a circle": Link("circle"),
    "a link to nothing": Link("/nowhere"),
    "a directory": None,
    "empty": b"",
    "NUL": b"\0" * 1000,
    "half a quote": 'socket "/run/x\n[Service\nExecStart="/x\nSOCKET="x',
    "enormous": b"A=" + b"x" * 1048575,
    "many lines": b"A\\\n" * 50000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("machine", [el9, debian12], ids=["el9", "debian12"])
def test_whatever_becomes_of_one_file_the_other_milters_stay(
    machine: Callable[[], dict[str, Content]], content: Content, tmp_path: Path
) -> None:
    """Each file of a machine in its turn; what stays is every milter with another name than the file's."""
    files = machine()
    before = dict(used(found(tmp_path / "whole", files)))
    paths = [path for path, text in files.items() if isinstance(text, str) and "release" not in path]
    for number, path in enumerate(random.Random(1).sample(paths, 8)):
        after = dict(used(found(tmp_path / str(number), {**files, path: content})))
        others = {name for name in before if name not in path and not path.endswith(OWNED.get(name, ("-",)))}
        assert others - after.keys() == set(), path


OWNED = {
    "milter-greylist": ("greylist.conf",),
    "rspamd": ("worker-proxy.inc", "rspamd.conf"),
    "spamass-milter": ("sbin/postfix",),
}


def test_a_tree_that_is_not_there_is_a_problem_and_nothing_more(tmp_path: Path) -> None:
    detection = detect(str(tmp_path / "none"))
    assert (detection.milters, len(detection.problems)) == ((), 1)


def test_an_empty_tree_has_nothing(tmp_path: Path) -> None:
    assert detect(str(tmp_path)) == Detection("linux")


def test_what_is_found_can_be_printed(tmp_path: Path) -> None:
    unit = b"[Unit]\nDescription=milter caf\xe9 \x1b[31m\n[Service]\nUser=\xe9\nExecStart=/x -p unix:/run/\xe9\n"
    detection = found(tmp_path, {f"{VENDOR}/x-milter.service": unit, **enabled("x-milter.service")})
    assert "x-milter" in by_name(detection)
    repr(detection).encode("utf-8")
    assert "\x1b" not in str(detection.milters[0].description)


@pytest.mark.parametrize(("given", "shown"), [("_rspamd", "_rspamd"), ("sa-milt", "sa-milt"), ("$X", ""), ("a b", "")])
def test_a_user_is_a_name_that_a_user_can_have(tmp_path: Path, given: str, shown: str) -> None:
    unit = f"[Unit]\nDescription=milter\n[Service]\nUser={given}\nExecStart=/x -p unix:/x\n"
    assert one(tmp_path, {f"{VENDOR}/x.service": unit}, "x").user == shown


def test_a_socket_whose_name_is_no_utf_8_is_a_problem(tmp_path: Path) -> None:
    unit = b"[Unit]\nDescription=milter\n[Service]\nExecStart=/x -p unix:/run/\xe9\n"
    detection = found(tmp_path, {f"{VENDOR}/x-milter.service": unit, **enabled("x-milter.service")})
    assert [problem.text for problem in detection.problems][:1] == ["the socket's name is not UTF-8"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@examples(
    path=st.sampled_from(sorted(path for path, text in el9().items() if isinstance(text, str))),
    content=st.one_of(st.binary(max_size=300), st.text(alphabet="[]Service=\n\\'\"$%{}# @-p;", max_size=120)),
)
def test_no_content_of_a_file_raises_or_gives_a_socket_that_is_none(path: str, content: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        detection = found(Path(directory), {**el9(), path: content})
        for each in detection.milters:
            if each.connection_spec is not None:
                assert parse_endpoint(each.connection_spec.value)
