"""``mmgr.detect.systemd``: the effective unit, in trees with drop-ins, masks, aliases and settings files."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mmgr.detect.candidate import Service
from mmgr.detect.systemd import service
from mmgr.detect.unitpath import UnitPath

from .trees import NULL, Content, Link, enabled, plant

VENDOR = "/usr/lib/systemd/system"
ADMIN = "/etc/systemd/system"
PLAIN = "[Unit]\nDescription=A milter\n[Service]\nExecStart=/usr/sbin/a -p /run/a.sock\nUser=a\nGroup=b\n"
UNIT: dict[str, Content] = {f"{VENDOR}/a.service": PLAIN}


def found(root: Path, files: dict[str, Content], name: str = "a.service") -> Service:
    tree = plant(root, files)
    read = service(tree, UnitPath(tree), name)
    assert read is not None
    return read


def argv(read: Service) -> list[str]:
    return [word.value for word in read.argv]


def texts(read: Service) -> str:
    return "\n".join(f"{problem.where}: {problem.text} ({problem.hint})" for problem in read.problems)


# ---- what the unit says


def test_a_plain_unit_says_everything_with_its_lines(tmp_path: Path) -> None:
    read = found(tmp_path, UNIT)
    assert (argv(read), read.user, read.group) == (["/usr/sbin/a", "-p", "/run/a.sock"], "a", "b")
    assert read.description is not None
    assert str(read.description.where) == f"{VENDOR}/a.service:2"
    assert str(read.argv[2].where) == f"{VENDOR}/a.service:4"


def test_the_unit_of_the_administrator_replaces_that_of_the_package(tmp_path: Path) -> None:
    read = found(tmp_path, {**UNIT, f"{ADMIN}/a.service": "[Service]\nExecStart=/opt/a\n"})
    assert (argv(read), read.user, read.unit.path) == (["/opt/a"], "", f"{ADMIN}/a.service")


def test_a_unit_that_lib_holds_is_found_whether_or_not_lib_is_a_link(tmp_path: Path) -> None:
    own = found(tmp_path / "own", {"/lib/systemd/system/a.service": PLAIN})
    merged = found(tmp_path / "merged", {**UNIT, "/lib": Link("usr/lib")})
    assert (own.unit.path, merged.unit.path) == ("/lib/systemd/system/a.service", f"{VENDOR}/a.service")


def test_a_drop_in_adds_what_the_unit_lacks_and_replaces_what_it_says(tmp_path: Path) -> None:
    read = found(
        tmp_path,
        {
            **UNIT,
            f"{ADMIN}/a.service.d/override.conf": "[Service]\nExecStart=\nExecStart=/usr/sbin/a -p inet:1@x\nUser=c\n",
        },
    )
    assert (argv(read)[-1], read.user, read.group) == ("inet:1@x", "c", "b")
    assert str(read.argv[2].where) == f"{ADMIN}/a.service.d/override.conf:3"


def test_drop_ins_are_read_by_name_across_all_directories(tmp_path: Path) -> None:
    read = found(
        tmp_path,
        {
            **UNIT,
            f"{ADMIN}/a.service.d/10-x.conf": "[Service]\nUser=from-10\nGroup=from-10\n",
            f"{VENDOR}/a.service.d/20-x.conf": "[Service]\nUser=from-20\n",
        },
    )
    assert (read.user, read.group) == ("from-20", "from-10")


def test_a_drop_in_of_the_administrator_hides_the_one_of_the_same_name(tmp_path: Path) -> None:
    read = found(
        tmp_path,
        {
            **UNIT,
            f"{VENDOR}/a.service.d/x.conf": "[Service]\nUser=vendor\n",
            f"{ADMIN}/a.service.d/x.conf": "[Service]\nGroup=admin\n",
        },
    )
    assert (read.user, read.group) == ("a", "admin")


@pytest.mark.parametrize("mask", [Link(NULL), b""])
def test_a_masked_drop_in_counts_nothing(tmp_path: Path, mask: Content) -> None:
    files: dict[str, Content] = {
        f"{VENDOR}/a.service.d/x.conf": "[Service]\nUser=x\n",
        f"{ADMIN}/a.service.d/x.conf": mask,
    }
    assert found(tmp_path, {**UNIT, **files}).user == "a"


@pytest.mark.parametrize("name", [".x.conf", "x.conf~", "x.conf.rpmsave", "x"])
def test_other_files_beside_drop_ins_count_nothing(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, {**UNIT, f"{ADMIN}/a.service.d/{name}": "[Service]\nUser=x\n"}).user == "a"


def test_drop_ins_for_all_services_and_for_a_common_prefix_count(tmp_path: Path) -> None:
    read = found(
        tmp_path,
        {
            f"{VENDOR}/smf-spf-x.service": "[Service]\nExecStart=/a\n",
            f"{ADMIN}/service.d/1.conf": "[Service]\nUser=all\nGroup=all\nRuntimeDirectory=all\n",
            f"{ADMIN}/smf-.service.d/2.conf": "[Service]\nGroup=prefix\nRuntimeDirectory=\n",
            f"{ADMIN}/smf-spf-.service.d/3.conf": "[Service]\nRuntimeDirectory=longer\n",
        },
        "smf-spf-x.service",
    )
    assert (read.user, read.group, read.runtime_directory) == ("all", "prefix", "/run/longer")


def test_of_drop_ins_with_the_same_name_the_nearer_one_counts(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        f"{ADMIN}/service.d/x.conf": "[Service]\nUser=all\n",
        f"{VENDOR}/a.service.d/x.conf": "[Service]\nUser=own\n",
    }
    assert found(tmp_path, {**UNIT, **files}).user == "own"


def test_two_commands_are_reported_and_the_last_one_is_taken(tmp_path: Path) -> None:
    read = found(tmp_path, {**UNIT, f"{ADMIN}/a.service.d/x.conf": "[Service]\nExecStart=/b\n"})
    assert argv(read) == ["/b"]
    assert "more than one ExecStart" in texts(read)


def test_several_commands_of_a_oneshot_are_no_problem(tmp_path: Path) -> None:
    read = found(tmp_path, {f"{VENDOR}/a.service": "[Service]\nType=oneshot\nExecStart=/a\nExecStart=/b\n"})
    assert (argv(read), texts(read)) == (["/b"], "")


def test_a_unit_without_a_command_has_no_words(tmp_path: Path) -> None:
    assert argv(found(tmp_path, {f"{VENDOR}/a.service": "[Unit]\nDescription=x\n"})) == []


def test_a_command_with_an_open_quote_is_reported(tmp_path: Path) -> None:
    read = found(tmp_path, {f"{VENDOR}/a.service": "[Service]\nExecStart=/a 'b\n"})
    assert (argv(read), "quote" in texts(read)) == ([], True)


def test_a_unit_with_other_bytes_than_utf_8_is_read(tmp_path: Path) -> None:
    read = found(tmp_path, {f"{VENDOR}/a.service": b"[Unit]\nDescription=caf\xe9\n[Service]\nExecStart=/a \xe9\n"})
    assert argv(read) == ["/a", "\udce9"]


@pytest.mark.parametrize("content", [Link("x.conf"), None])
def test_a_drop_in_that_can_not_be_read_is_reported_and_the_rest_counts(tmp_path: Path, content: Content) -> None:
    read = found(tmp_path, {**UNIT, f"{ADMIN}/a.service.d/x.conf": content})
    assert (argv(read)[0], "x.conf" in texts(read)) == ("/usr/sbin/a", True)


# ---- the environment

COMMAND = "ExecStart=/a $OPTIONS -p ${SOCKET}\n"


def with_environment(root: Path, settings: str, **files: Content) -> list[str]:
    """The words behind the program."""
    unit = f"[Service]\n{settings}{COMMAND}"
    named = {f"/etc/sysconfig/{name}": content for name, content in files.items()}
    return argv(found(root, {f"{VENDOR}/a.service": unit, **named}))[1:]


def test_the_environment_of_the_unit_is_put_in(tmp_path: Path) -> None:
    assert with_environment(tmp_path, 'Environment=SOCKET=/s "OPTIONS=-g mail -m"\n') == [
        "-g",
        "mail",
        "-m",
        "-p",
        "/s",
    ]


def test_a_file_wins_over_the_unit_and_a_later_file_over_an_earlier_one(tmp_path: Path) -> None:
    settings = "EnvironmentFile=-/etc/sysconfig/a\nEnvironmentFile=-/etc/sysconfig/b\nEnvironment=SOCKET=/0 OPTIONS=0\n"
    assert with_environment(tmp_path, settings, a="SOCKET=/1\nOPTIONS=1\n", b="SOCKET=/2\n") == ["1", "-p", "/2"]


def test_an_optional_file_may_be_absent(tmp_path: Path) -> None:
    read = found(tmp_path, {f"{VENDOR}/a.service": "[Service]\nEnvironmentFile=-/none\nExecStart=/a\n"})
    assert texts(read) == ""


def test_a_file_that_must_be_there_and_is_not_is_reported(tmp_path: Path) -> None:
    read = found(tmp_path, {f"{VENDOR}/a.service": "[Service]\nEnvironmentFile=/none\nExecStart=/a\n"})
    assert f"{VENDOR}/a.service:2: /none is missing" in texts(read)


def test_a_pattern_stands_for_all_its_files_in_order(tmp_path: Path) -> None:
    files = {"a1": "SOCKET=/1\nOPTIONS=1\n", "a2": "SOCKET=/2\n", "b": "SOCKET=/b\n"}
    assert with_environment(tmp_path, "EnvironmentFile=/etc/sysconfig/a*\n", **files) == ["1", "-p", "/2"]


def test_empty_assignments_take_back_what_came_before(tmp_path: Path) -> None:
    settings = (
        "Environment=SOCKET=/0\nEnvironment=\nEnvironment=OPTIONS=1\n"
        "EnvironmentFile=/etc/sysconfig/a\nEnvironmentFile=\n"
    )
    assert with_environment(tmp_path, settings, a="SOCKET=/a\n") == ["1", "-p", ""]


def test_unset_variables_are_gone(tmp_path: Path) -> None:
    settings = "Environment=SOCKET=/s OPTIONS=1\nUnsetEnvironment=SOCKET=/other OPTIONS\n"
    assert with_environment(tmp_path, settings) == ["-p", "/s"]


def test_a_file_that_is_no_utf_8_is_left_out_with_a_problem(tmp_path: Path) -> None:
    unit = f"[Service]\nEnvironment=SOCKET=/s\nEnvironmentFile=-/e\n{COMMAND}"
    read = found(tmp_path, {f"{VENDOR}/a.service": unit, "/e": b"X=1\nSOCKET=/caf\xe9\n"})
    assert argv(read) == ["/a", "-p", "/s"]
    assert "/e:2: SOCKET is not UTF-8" in texts(read)


def test_other_bytes_in_comments_of_a_file_do_no_harm(tmp_path: Path) -> None:
    assert with_environment(tmp_path, "EnvironmentFile=/etc/sysconfig/a\n", a=b"# caf\xe9\nSOCKET=/a\n") == ["-p", "/a"]


def test_the_runtime_directory_is_a_variable_too(tmp_path: Path) -> None:
    unit = "[Service]\nRuntimeDirectory=milter/%p x\nExecStart=/a ${RUNTIME_DIRECTORY}/s\n"
    assert argv(found(tmp_path, {f"{VENDOR}/a.service": unit})) == ["/a", "/run/milter/a/s"]


# ---- whether it is started


def state(root: Path, files: dict[str, Content], name: str = "a.service") -> tuple[bool, str]:
    read = found(root, files, name)
    return read.is_started.value, str(read.is_started.where)


@pytest.mark.parametrize("target", ["multi-user.target", "mail.target", "postfix.service"])
def test_a_unit_that_anything_wants_is_started(tmp_path: Path, target: str) -> None:
    files = {**UNIT, **enabled("a.service", target)}
    assert state(tmp_path, files) == (True, f"{ADMIN}/{target}.wants/a.service")


@pytest.mark.parametrize("directory", ["/run/systemd/system/x.target.requires", f"{VENDOR}/x.target.wants"])
def test_a_unit_wanted_at_run_time_or_by_the_package_is_started(tmp_path: Path, directory: str) -> None:
    assert state(tmp_path, {**UNIT, f"{directory}/a.service": Link("../a.service")})[0]


def test_a_unit_that_nothing_wants_is_disabled(tmp_path: Path) -> None:
    read = found(tmp_path, UNIT)
    assert (read.is_started.value, read.why_not.split(":")[0]) == (False, "disabled")


def test_a_link_to_null_takes_back_what_the_package_wants(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        f"{VENDOR}/x.target.wants/a.service": Link("../a.service"),
        f"{ADMIN}/x.target.wants/a.service": Link(NULL),
    }
    assert not state(tmp_path, {**UNIT, **files})[0]


@pytest.mark.parametrize("mask", [Link(NULL), b""])
def test_a_masked_unit_is_not_started_but_still_described(tmp_path: Path, mask: Content) -> None:
    read = found(tmp_path, {**UNIT, f"{ADMIN}/a.service": mask, **enabled("a.service")})
    assert (read.is_started.value, read.why_not) == (False, f"masked by {ADMIN}/a.service")
    assert argv(read)[0] == "/usr/sbin/a"


def test_a_mask_at_run_time_does_not_count_against_a_unit_of_the_administrator(tmp_path: Path) -> None:
    files = {f"{ADMIN}/a.service": PLAIN, "/run/systemd/system/a.service": Link(NULL), **enabled("a.service")}
    assert state(tmp_path, files)[0]


def test_a_mask_of_something_that_is_not_installed_is_nothing(tmp_path: Path) -> None:
    tree = plant(tmp_path, {f"{ADMIN}/a.service": Link(NULL)})
    assert service(tree, UnitPath(tree), "a.service") is None


@pytest.mark.parametrize("suffix", ["socket", "path"])
def test_a_unit_that_an_enabled_socket_or_path_starts_is_started(tmp_path: Path, suffix: str) -> None:
    files = {**UNIT, f"{VENDOR}/a.{suffix}": "[Socket]\nListenStream=/s\n", **enabled(f"a.{suffix}", "sockets.target")}
    assert state(tmp_path, files)[0]


def test_a_masked_socket_starts_nothing(tmp_path: Path) -> None:
    files = {
        **UNIT,
        f"{VENDOR}/a.socket": "[Socket]\n",
        f"{ADMIN}/a.socket": Link(NULL),
        **enabled("a.socket", "sockets.target"),
    }
    assert not state(tmp_path, files)[0]


# ---- names


def names(root: Path, files: dict[str, Content]) -> list[str]:
    return list(UnitPath(plant(root, files)).names())


def test_an_alias_is_no_unit_of_its_own(tmp_path: Path) -> None:
    tree = plant(tmp_path, {**UNIT, f"{ADMIN}/b.service": Link(f"{VENDOR}/a.service")})
    path = UnitPath(tree)
    assert (list(path.names()), path.aliases("a.service")) == (["a.service"], ("b.service",))


def test_the_names_that_a_unit_would_get_are_aliases_too(tmp_path: Path) -> None:
    install = "[Install]\nAlias=b.service c.service\nAlias=d.socket\n"
    read = found(tmp_path, {f"{VENDOR}/a.service": PLAIN + install, f"{ADMIN}/e.service": Link("a.service")})
    assert read.aliases == ("e", "b", "c")


def test_a_unit_is_started_where_its_alias_is_wanted(tmp_path: Path) -> None:
    files = {**UNIT, f"{ADMIN}/b.service": Link(f"{VENDOR}/a.service"), **enabled("b.service")}
    assert state(tmp_path, files)[0]


def test_drop_ins_of_an_alias_count(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        f"{ADMIN}/b.service": Link("a.service"),
        f"{ADMIN}/b.service.d/x.conf": "[Service]\nUser=b\n",
    }
    assert found(tmp_path, {**UNIT, **files}).user == "b"


def test_a_unit_that_is_linked_from_elsewhere_is_read_there(tmp_path: Path) -> None:
    files: dict[str, Content] = {"/opt/x/a.service": PLAIN, f"{ADMIN}/a.service": Link("/opt/x/a.service")}
    assert argv(found(tmp_path, files))[0] == "/usr/sbin/a"


def test_aliases_in_a_circle_and_links_to_nothing_are_no_units(tmp_path: Path) -> None:
    circle: dict[str, Content] = {
        f"{ADMIN}/b.service": Link("c.service"),
        f"{ADMIN}/c.service": Link("b.service"),
        f"{ADMIN}/d.service": Link("none.service"),
    }
    assert names(tmp_path, {**UNIT, **circle}) == ["a.service"]


def test_a_template_counts_once_for_each_instance_that_is_enabled(tmp_path: Path) -> None:
    files = {
        f"{VENDOR}/a@.service": "[Service]\nExecStart=/a -c /etc/a/%i.conf\nUser=%i\n",
        **enabled("a@one.service", of="a@.service"),
        **enabled("a@two.service", of="a@.service"),
    }
    tree = plant(tmp_path, files)
    path = UnitPath(tree)
    assert list(path.names()) == ["a@one.service", "a@two.service"]
    read = service(tree, path, "a@two.service")
    assert read is not None
    assert (read.name, argv(read)[-1], read.user) == ("a@two", "/etc/a/two.conf", "two")


def test_an_instance_gets_the_drop_ins_of_its_template_and_its_own(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        f"{VENDOR}/a@.service": "[Service]\nExecStart=/a\n",
        f"{ADMIN}/a@.service.d/1.conf": "[Service]\nUser=all\nGroup=all\n",
        f"{ADMIN}/a@one.service.d/2.conf": "[Service]\nUser=one\n",
    }
    read = found(tmp_path, files, "a@one.service")
    assert (read.user, read.group) == ("one", "all")


def test_units_that_systemd_makes_of_scripts_are_left_to_the_scripts(tmp_path: Path) -> None:
    assert names(tmp_path, {"/run/systemd/generator.late/a.service": PLAIN}) == []


def test_units_of_other_generators_count(tmp_path: Path) -> None:
    assert names(tmp_path, {"/run/systemd/generator/a.service": PLAIN}) == ["a.service"]


def test_a_directory_that_can_not_be_listed_is_reported(tmp_path: Path) -> None:
    path = UnitPath(plant(tmp_path, {**UNIT, ADMIN: Link("system")}))
    assert [problem.where.path for problem in path.problems] == [ADMIN]


# ---- the same as systemctl says

STATES: dict[str, dict[str, Content]] = {
    "enabled": {**UNIT, **enabled("a.service")},
    "disabled": {f"{VENDOR}/a.service": PLAIN + "[Install]\nWantedBy=multi-user.target\n"},
    "masked": {**UNIT, f"{ADMIN}/a.service": Link(NULL)},
    "other": {f"{ADMIN}/a.service": PLAIN, **enabled("a.service", "mail.target")},
}


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="there is no systemctl here")
@pytest.mark.parametrize("name", STATES)
def test_what_is_started_agrees_with_systemctl(tmp_path: Path, name: str) -> None:
    is_started = state(tmp_path, STATES[name])[0]
    command = ["systemctl", f"--root={tmp_path}", "is-enabled", "a.service"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert is_started == (answer.stdout.strip() in ("enabled", "enabled-runtime"))


# ---- units that systemd does not load


@pytest.mark.parametrize("service_section", ["ExecStart=", "ExecStart=/usr/sbin/a\nExecStart=", "User=a"])
def test_a_unit_without_a_command_is_started_by_nobody(tmp_path: Path, service_section: str) -> None:
    text = f"[Service]\n{service_section}\n"
    read = found(tmp_path, {f"{VENDOR}/a.service": text, **enabled("a.service")})
    assert (read.is_started.value, "no command" in read.why_not) == (False, True)


def test_a_unit_that_can_not_be_read_may_have_a_command(tmp_path: Path) -> None:
    read = found(tmp_path, {**UNIT, f"{ADMIN}/a.service.d/x.conf": Link("x.conf"), **enabled("a.service")})
    assert read.is_started.value
