"""``mmgr.detect.bsd``: start scripts of FreeBSD's ports and of pkgsrc."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.bsd import services
from mmgr.detect.candidate import Platform, Service
from mmgr.detect.detection import detect

from .trees import Content, by_name, plant, socket, socket_where

FREEBSD = Platform("freebsd", "freebsd", "/usr/local/etc", "/usr/local/etc/rc.d")
PKGSRC = Platform("pkgsrc", "pkgsrc", "/usr/pkg/etc", "/usr/pkg/etc/rc.d")
OPENDKIM = """
    #!/bin/sh
    # PROVIDE: milter-opendkim
    . /etc/rc.subr
    name="milteropendkim"
    rcvar=milteropendkim_enable
    command="/usr/local/sbin/opendkim"
    load_rc_config $name
    : ${milteropendkim_enable:="NO"}
    : ${milteropendkim_uid="mailnull"}
    : ${milteropendkim_socket="inet:8891@localhost"}
    : ${milteropendkim_cfgfile="/usr/local/etc/mail/opendkim.conf"}
    command_args="-l -p ${milteropendkim_socket} -x ${milteropendkim_cfgfile}"
    run_rc_command "$1"
    """
SCRIPT: dict[str, Content] = {"/usr/local/etc/rc.d/milter-opendkim": OPENDKIM}


def read(root: Path, files: dict[str, Content]) -> list[Service]:
    return services(plant(root, files), FREEBSD, "milter-opendkim")


def state(found: Service) -> tuple[bool, str]:
    return found.is_started.value, str(found.is_started.where)


@pytest.mark.parametrize("value", ["YES", '"yes"', "true", "On", "1"])
def test_rc_conf_enables_a_script(tmp_path: Path, value: str) -> None:
    files: dict[str, Content] = {**SCRIPT, "/etc/rc.conf": f"# x\nmilteropendkim_enable={value}\n"}
    assert state(read(tmp_path, files)[0]) == (True, "/etc/rc.conf:2")


@pytest.mark.parametrize("value", ["NO", "", "maybe"])
def test_anything_else_does_not(tmp_path: Path, value: str) -> None:
    files: dict[str, Content] = {**SCRIPT, "/etc/rc.conf": f'milteropendkim_enable="{value}"\n'}
    assert not read(tmp_path, files)[0].is_started.value


def test_without_a_word_in_rc_conf_the_default_of_the_script_counts(tmp_path: Path) -> None:
    assert state(read(tmp_path, SCRIPT)[0]) == (False, "/usr/local/etc/rc.d/milter-opendkim:8")


def test_a_script_without_a_default_is_disabled(tmp_path: Path) -> None:
    tree = plant(tmp_path, {"/usr/local/etc/rc.d/x": "name=x-y\n"})
    assert services(tree, FREEBSD, "x")[0].why_not == "disabled: x_y_enable is not set in rc.conf"


@pytest.mark.parametrize("path", ["/etc/rc.conf", "/etc/rc.conf.local", "/etc/rc.conf.d/milteropendkim"])
def test_settings_may_stand_in_several_files(tmp_path: Path, path: str) -> None:
    found = read(tmp_path, {**SCRIPT, path: "milteropendkim_socket=local:/var/run/x\n"})[0]
    variable = found.variable("socket")
    assert variable is not None
    assert (variable.value, str(variable.where)) == ("local:/var/run/x", f"{path}:1")


def test_what_the_script_puts_together_uses_the_settings(tmp_path: Path) -> None:
    found = read(tmp_path, {**SCRIPT, "/etc/rc.conf": "milteropendkim_socket=local:/s\n"})[0]
    assert found.environment["command_args"].value == "-l -p local:/s -x /usr/local/etc/mail/opendkim.conf"


def test_the_user_is_the_one_of_the_script(tmp_path: Path) -> None:
    assert read(tmp_path, SCRIPT)[0].user == "mailnull"


PROFILES = """
    milteropendkim_enable=YES
    milteropendkim_profiles="in out"
    milteropendkim_socket=local:/general
    milteropendkim_flags=-g
    milteropendkim_in_socket=local:/in
    milteropendkim_out_socket=local:/out
    milteropendkim_out_flags=-o
    milteropendkim_out_enable=NO
    """


def test_each_profile_is_a_service_with_its_own_settings(tmp_path: Path) -> None:
    found = read(tmp_path, {**SCRIPT, "/etc/rc.conf": PROFILES})
    assert [
        (each.name, each.environment["milteropendkim_socket"].value, each.environment["milteropendkim_flags"].value)
        for each in found
    ] == [("milter-opendkim-in", "local:/in", "-g"), ("milter-opendkim-out", "local:/out", "-o")]


def test_a_profile_may_be_disabled_alone(tmp_path: Path) -> None:
    found = read(tmp_path, {**SCRIPT, "/etc/rc.conf": PROFILES})
    assert [each.is_started.value for each in found] == [True, False]


def test_what_depends_on_the_arguments_of_the_script_is_taken_from_the_variables(tmp_path: Path) -> None:
    script = """
        name="milteropendkim"
        load_rc_config $name
        : ${milteropendkim_cfgfile="/usr/local/etc/mail/opendkim.conf"}
        if [ -n "$2" ]; then
            profile="$2"
            eval milteropendkim_socket="\\${milteropendkim_${profile}_socket:-}"
            milteropendkim_cfgfile="-x ${milteropendkim_cfgfile}"
        else
            for profile in ${milteropendkim_profiles}; do
                milteropendkim_cfgfile="$profile"
            done
        fi
        """
    files: dict[str, Content] = {
        "/usr/local/etc/rc.d/milter-opendkim": script,
        "/etc/rc.conf": "milteropendkim_profiles='a b'\nmilteropendkim_a_socket=local:/a\n",
        "/usr/local/etc/mail/opendkim.conf": "Socket local:/of-the-file\n",
    }
    plant(tmp_path, files)
    found = detect(str(tmp_path))
    assert [(each.name, socket(each), socket_where(each)) for each in found.milters] == [
        ("milter-opendkim-a", "unix:/a", "/etc/rc.conf:2"),
        ("milter-opendkim-b", "unix:/of-the-file", "/usr/local/etc/mail/opendkim.conf:1"),
    ]


def test_names_of_profiles_that_are_no_names_are_passed_over(tmp_path: Path) -> None:
    files: dict[str, Content] = {**SCRIPT, "/etc/rc.conf": 'milteropendkim_profiles="../x a.b ok"\n'}
    assert [each.name for each in read(tmp_path, files)] == ["milter-opendkim-ok"]


def test_a_script_without_a_name_is_none_of_the_system(tmp_path: Path) -> None:
    assert services(plant(tmp_path, {"/usr/local/etc/rc.d/x": "echo hello\n"}), FREEBSD, "x") == []


def test_on_pkgsrc_the_variable_of_the_name_itself_enables(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "/usr/pkg/etc/rc.d/milter-regex": 'name="milter_regex"\nrcvar=$name\nload_rc_config $name\n',
        "/etc/rc.conf": "milter_regex=YES\n",
    }
    assert state(services(plant(tmp_path, files), PKGSRC, "milter-regex")[0]) == (True, "/etc/rc.conf:1")


def test_a_freebsd_tree_is_detected_with_conditions_for_each_profile(tmp_path: Path) -> None:
    greylist = """
        name="miltergreylist"
        rcvar=miltergreylist_enable
        load_rc_config $name
        : ${miltergreylist_cfgfile="/usr/local/etc/mail/greylist.conf"}
        """
    plant(
        tmp_path,
        {
            **SCRIPT,
            "/usr/local/etc/rc.d/milter-greylist": greylist,
            "/usr/local/etc/mail/greylist.conf": 'pidfile "/x"\nsocket "/var/milter-greylist/milter-greylist.sock"\n',
            "/etc/rc.conf": PROFILES.replace("out_enable=NO", "out_enable=YES") + "\nmiltergreylist_enable=YES\n",
        },
    )
    detection = detect(str(tmp_path))
    assert detection.platform == "freebsd"
    assert [(each.name, socket(each)) for each in detection.milters] == [
        ("milter-greylist", "unix:/var/milter-greylist/milter-greylist.sock"),
        ("milter-opendkim-in", "unix:/in"),
        ("milter-opendkim-out", "unix:/out"),
    ]
    assert "S25R" in detection.milters[0].conditions


def test_a_socket_below_var_run_keeps_its_name_where_there_is_no_other_run(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {**SCRIPT, "/etc/rc.conf": "milteropendkim_enable=YES\nmilteropendkim_socket=local:/var/run/dkim/s\n"},
    )
    milter = by_name(detect(str(tmp_path)))["milter-opendkim"]
    assert (socket(milter), socket_where(milter)) == ("unix:/var/run/dkim/s", "/etc/rc.conf:2")


def test_a_pkgsrc_tree_is_found_by_its_options(tmp_path: Path) -> None:
    spamass = """
        name="spamass_milter"
        rcvar=$name
        load_rc_config $name
        : ${spamass_milter_socket="/var/run/spamass.sock"}
        command_args="-p ${spamass_milter_socket} -f"
        """
    plant(
        tmp_path,
        {"/opt/pkg/etc/rc.d/spamass-milter": spamass, "/etc/rc.conf": "spamass_milter=YES\n"},
    )
    detection = detect(str(tmp_path), options={"prefix": "/opt/pkg/etc"})
    assert detection.platform == "pkgsrc"
    assert [(each.name, socket(each), each.is_enabled.value) for each in detection.milters] == [
        ("spamass-milter", "unix:/var/run/spamass.sock", True)
    ]


def test_scripts_of_pkgsrc_may_lie_in_a_directory_of_their_own(tmp_path: Path) -> None:
    plant(tmp_path, {"/etc/rc.d/enma": "name=enma\nload_rc_config $name\n"})
    assert [each.name for each in detect(str(tmp_path), options={"rcddir": "/etc/rc.d"}).milters] == ["enma"]
