"""What detection found stands in front of what the files say, key by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.config.detected import layer_of, remembering
from mmgr.config.loader import LoadResult, load
from mmgr.config.writer import show
from mmgr.detect.base import Detected, Detection, Found, Problem, Where
from mmgr.endpoint import parse_endpoint
from mmgr.errors import ConfigErrors
from tests.support.configuration import Directory

UNIT = """[Unit]
Description=OpenDKIM
[Service]
ExecStart=/usr/sbin/opendkim -f
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with one milter."""
    made = tmp_path / "root"
    for name, text in {
        "etc/os-release": "ID=centos\nVERSION_ID=8\nPLATFORM_ID=platform:el8\n",
        "usr/lib/systemd/system/opendkim.service": UNIT,
        "etc/opendkim.conf": "# ours\nSocket local:/run/opendkim/opendkim.sock\n",
    }.items():
        path = made / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    enable(made)
    return made


def enable(root: Path) -> Path:
    link = root / "etc/systemd/system/multi-user.target.wants/opendkim.service"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to("/usr/lib/systemd/system/opendkim.service")
    return link


def read(directory: Directory, root: Path) -> LoadResult:
    return load(str(directory.path), None, str(root))


def test_a_milter_that_is_installed_is_a_child(directory: Directory, root: Path) -> None:
    (child,) = read(directory, root).config.children
    expected = ("opendkim", (parse_endpoint("unix:/run/opendkim/opendkim.sock"),), True, "OpenDKIM")
    assert (child.name, child.connection_spec, child.enabled, child.description) == expected


def test_its_values_say_where_they_were_read(directory: Directory, root: Path) -> None:
    origins = read(directory, root).config.origins
    assert str(origins["milters.opendkim.connection_spec"]) == "detected: /etc/opendkim.conf:2"


def test_a_file_wins_key_by_key(directory: Directory, root: Path) -> None:
    directory.write("[milters]\n[[opendkim]]\nfallback_status = reject\nconnection_spec = unix:/other\n")
    (child,) = read(directory, root).config.children
    assert (str(child.connection_spec[0]), child.description) == ("unix:/other", "OpenDKIM")


def test_a_milter_can_be_switched_off_in_a_file(directory: Directory, root: Path) -> None:
    directory.write("[milters]\n[[opendkim]]\nenabled = no\n")
    assert read(directory, root).config.enabled_children == ()


def test_a_milter_that_is_disabled_on_the_machine_is_shown_and_not_used(directory: Directory, root: Path) -> None:
    enable_link = root / "etc/systemd/system/multi-user.target.wants/opendkim.service"
    enable_link.unlink()
    config = read(directory, root).config
    assert ([child.name for child in config.children], config.enabled_children) == (["opendkim"], ())


def test_installed_milters_stand_in_front_of_configured_ones(directory: Directory, root: Path) -> None:
    directory.write("[milters]\n[[first]]\nconnection_spec = unix:/first\n[[opendkim]]\nenabled = yes\n")
    assert [child.name for child in read(directory, root).config.children] == ["opendkim", "first"]


def test_nothing_is_looked_for_if_the_configuration_says_so(directory: Directory, root: Path) -> None:
    directory.write("[package]\ndetection = no\n")
    assert read(directory, root).config.children == ()


def test_what_is_shown_reads_back_as_the_same_children(directory: Directory, root: Path) -> None:
    config = read(directory, root).config
    directory.write(show(config))
    assert read(directory, directory.path).config.children == config.children


def test_what_is_shown_says_where_it_was_detected(directory: Directory, root: Path) -> None:
    text = show(read(directory, root).config)
    assert "# detected: /etc/opendkim.conf:2\nconnection_spec = unix:/run/opendkim/opendkim.sock\n" in text


def detected(name: str = "m", spec: str = "unix:/m", **changed: object) -> Detected:
    unit = Where("/usr/lib/systemd/system/m.service")
    known: dict[str, object] = {"connection_spec": Found(spec, unit), "is_enabled": Found(True, unit), **changed}
    return Detected(name, unit, **known)  # type: ignore[arg-type]


def test_a_name_that_no_child_can_have_is_left_out_with_a_warning() -> None:
    layer = layer_of(Detection("x", (detected("a b"), detected("c"))))
    assert (list(layer.children), len(layer.warnings)) == (["c"], 1)


def test_a_socket_that_nobody_understands_is_a_warning() -> None:
    layer = layer_of(Detection("x", (detected(spec="nonsense"),)))
    assert ("milters.m.connection_spec" in layer.values, len(layer.warnings)) == (False, 1)


def test_a_tarpit_lengthens_the_deadlines() -> None:
    layer = layer_of(Detection("x", (detected(extra_timeout_s=125.0),)))
    assert layer.values["milters.m.reading_timeout"][0] == 150.0


def test_a_problem_is_a_warning_in_one_line() -> None:
    layer = layer_of(Detection("x", problems=(Problem("m", Where("/etc/m.conf", 3), "can't\nbe read", "chmod"),)))
    assert layer.warnings == ["/etc/m.conf:3: m: can't\\nbe read (chmod)"]


def test_a_milter_that_can_not_be_used_is_shown_with_the_reason(directory: Directory, root: Path) -> None:
    (root / "etc/opendkim.conf").write_text("Canonicalization simple\n", "utf-8")
    config = read(directory, root).config
    reason = "# detected: /etc/opendkim.conf (no Socket is set)\nenabled = no\n"
    assert (config.enabled_children, reason in show(config)) == ((), True)


def test_what_was_read_before_counts_where_a_file_can_not_be_read_any_more() -> None:
    assumed = detected(connection_spec=Found("unix:/guess", Where("the package's default", is_assumed=True)))
    before = Detection("x", (detected(spec="inet:41003@localhost", extra_timeout_s=60.0),))
    (milter,) = remembering(Detection("x", (assumed,)), before).milters
    assert milter == before.milters[0]


def test_that_a_milter_was_switched_off_counts_all_the_same() -> None:
    where = Where("/unit")
    guess = Found("unix:/guess", Where("the package's default", is_assumed=True))
    off = detected(connection_spec=guess, is_enabled=Found(False, where), why_not="disabled")
    (milter,) = remembering(Detection("x", (off,)), Detection("x", (detected(),))).milters
    assert (milter.is_enabled.value, milter.why_not) == (False, "disabled")


def test_what_is_read_now_wins_over_what_was_read_before() -> None:
    (milter,) = remembering(Detection("x", (detected(spec="unix:/new"),)), Detection("x", (detected(),))).milters
    assert milter.connection_spec is not None
    assert milter.connection_spec.value == "unix:/new"


def test_a_reload_as_another_user_keeps_the_socket(directory: Directory, root: Path) -> None:
    first = read(directory, root)
    (root / "etc/opendkim.conf").unlink()
    (root / "etc/opendkim.conf").symlink_to("opendkim.conf")  # not even root can read that
    second = load(str(directory.path), None, str(root), first.detection)
    assert second.config.children[0].connection_spec == first.config.children[0].connection_spec
    assert any("opendkim.conf" in warning for warning in second.warnings)


def test_the_order_can_be_chosen(directory: Directory, root: Path) -> None:
    directory.write("[manager]\nmilter_order = mine, opendkim\n[milters]\n[[other]]\nconnection_spec = unix:/o\n")
    directory.write("[milters]\n[[mine]]\nconnection_spec = unix:/m\n", "milter-manager.local.conf")
    assert [child.name for child in read(directory, root).config.children] == ["mine", "opendkim", "other"]


def test_an_order_of_unknown_milters_is_a_fault(directory: Directory, root: Path) -> None:
    directory.write("[manager]\nmilter_order = opendikm\n")
    with pytest.raises(ConfigErrors, match=r"there is no milter 'opendikm' \(did you mean opendkim\?\)"):
        read(directory, root)


def test_settings_of_a_milter_that_is_not_installed_any_more_stop_nothing(directory: Directory, root: Path) -> None:
    directory.write("[milters]\n[[spamass-milter]]\nfallback_status = reject\n")
    result = read(directory, root)
    assert [child.name for child in result.config.enabled_children] == ["opendkim"]
    assert any("spamass-milter.connection_spec: it was not found here" in warning for warning in result.warnings)


def test_a_misspelt_milter_is_a_fault_with_a_hint(directory: Directory, root: Path) -> None:
    directory.write("[milters]\n[[opendkmi]]\nfallback_status = reject\n")
    with pytest.raises(ConfigErrors, match=r"did you mean opendkim\?"):
        read(directory, root)


@pytest.mark.parametrize(
    ("name", "is_told"), [("opendkmi", True), ("opendkim", False), ("opendmarc", False), ("zz", False)]
)
def test_a_misspelt_milter_that_is_switched_off_is_told(
    directory: Directory, root: Path, name: str, is_told: bool
) -> None:
    directory.write(f"[milters]\n[[{name}]]\nenabled = no\n")
    assert any("did you mean opendkim?" in warning for warning in read(directory, root).warnings) is is_told
