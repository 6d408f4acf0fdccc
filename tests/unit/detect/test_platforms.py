"""``mmgr.detect.platforms``: what a tree looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.detect.candidate import Platform
from mmgr.detect.platforms import identify

from .trees import Content, Link, plant


@pytest.mark.parametrize(
    ("release", "name", "family"),
    [
        ('ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="8"\n', "redhat8", "redhat"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.4"\n', "redhat9", "redhat"),
        ('ID="almalinux"\nVERSION_ID="10.0"\n', "redhat10", "redhat"),
        ('ID="newclone"\nID_LIKE="rhel"\nVERSION_ID="8.1"\n', "redhat8", "redhat"),
        ("ID=fedora\nVERSION_ID=42\n", "fedora", "redhat"),
        ('ID=debian\nVERSION_ID="12"\n', "debian", "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "ubuntu", "debian"),
        ("ID=arch\n", "arch", "linux"),
        ("", "linux", "linux"),
        ("ID=netbsd\n", "pkgsrc", "pkgsrc"),
    ],
)
def test_a_system_says_what_it_is(tmp_path: Path, release: str, name: str, family: str) -> None:
    found = identify(plant(tmp_path, {"/etc/os-release": release}))
    assert (found.name, found.family) == (name, family)


def test_the_release_of_the_vendor_counts_where_etc_has_none(tmp_path: Path) -> None:
    assert identify(plant(tmp_path, {"/usr/lib/os-release": "ID=debian\n"})).name == "debian"


def test_the_link_from_etc_stays_in_the_tree(tmp_path: Path) -> None:
    files: dict[str, Content] = {"/etc/os-release": Link("../usr/lib/os-release"), "/usr/lib/os-release": "ID=debian\n"}
    assert identify(plant(tmp_path, files)).name == "debian"


@pytest.mark.parametrize(
    ("path", "family"), [("/etc/redhat-release", "redhat"), ("/etc/debian_version", "debian"), ("/etc/x", "linux")]
)
def test_old_systems_are_known_by_other_files(tmp_path: Path, path: str, family: str) -> None:
    assert identify(plant(tmp_path, {path: "x\n"})).family == family


def test_freebsd_is_known_by_its_files(tmp_path: Path) -> None:
    found = identify(plant(tmp_path, {"/etc/rc.conf": "", "/usr/local/etc/rc.d": None}))
    assert found == Platform("freebsd", "freebsd", "/usr/local/etc", "/usr/local/etc/rc.d")


def test_a_linux_with_an_rc_conf_is_no_freebsd(tmp_path: Path) -> None:
    files: dict[str, Content] = {
        "/etc/rc.conf": "",
        "/usr/local/etc/rc.d": None,
        "/usr/lib/systemd/system/a.service": "x",
    }
    assert identify(plant(tmp_path, files)).family == "linux"


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("redhat8", "redhat"),
        ("redhat", "redhat"),
        ("debian", "debian"),
        ("ubuntu22.04", "debian"),
        ("freebsd", "freebsd"),
        ("pkgsrc", "pkgsrc"),
        ("solaris", "linux"),
    ],
)
def test_a_name_that_is_given_decides(tmp_path: Path, name: str, family: str) -> None:
    found = identify(plant(tmp_path, {"/etc/os-release": "ID=arch\n"}), name)
    assert (found.name, found.family) == (name, family)


@pytest.mark.parametrize(
    ("options", "configuration", "scripts"),
    [
        ({"prefix": "/opt/etc"}, "/opt/etc", "/opt/etc/rc.d"),
        ({"prefix": "/opt"}, "/opt/etc", "/opt/etc/rc.d"),
        ({"prefix": "/opt/etc", "rcddir": "/x"}, "/opt/etc", "/x"),
        ({"rcddir": "/x/"}, "/usr/pkg/etc", "/x"),
    ],
)
def test_options_say_where_pkgsrc_has_its_things(
    tmp_path: Path, options: dict[str, str], configuration: str, scripts: str
) -> None:
    found = identify(plant(tmp_path, {"/opt/etc/rc.d": None}), "", options)
    assert found == Platform("pkgsrc", "pkgsrc", configuration, scripts)


def test_without_scripts_of_its_own_pkgsrc_uses_those_of_the_system(tmp_path: Path) -> None:
    assert identify(plant(tmp_path, {"/etc": None}), "pkgsrc").scripts == "/etc/rc.d"


@pytest.mark.parametrize("content", [b"ID=\xff\xfe\n", b"ID='\n", b"ID=$(x)\n", Link("os-release"), None])
def test_a_release_that_makes_no_sense_leaves_linux(tmp_path: Path, content: Content) -> None:
    assert identify(plant(tmp_path, {"/etc/os-release": content})).family == "linux"
