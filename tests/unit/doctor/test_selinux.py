"""What is said about SELinux: of a policy that the test plays, and of files laid out as the kernel has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgr.doctor.selinux import (
    KernelPolicy,
    Labelled,
    denials,
    denies_port,
    our_domain,
    policy,
    type_of,
)

WAY = (Labelled("/run/x", "greylist_milter_data_t", True), Labelled("/run/x/s", "var_run_t", False))


class Played:
    """A policy of a few rules; what they do not name is allowed."""

    is_enforcing = True

    def __init__(self, *denied: tuple[str, str, str, str], types: tuple[str, ...] = ()) -> None:
        self._denied = denied
        self._types = types

    def knows(self, kind: str) -> bool | None:
        return kind in self._types

    def allows(self, source: str, target: str, object_class: str, permission: str) -> bool | None:
        return (source, target, object_class, permission) not in self._denied


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (("us", "var_run_t", "sock_file", "write"), "us may not write to /run/x/s, which is var_run_t"),
        (("us", "greylist_milter_data_t", "dir", "search"), "us may not enter /run/x, which is greylist_milter_data_t"),
        (("us", "init_t", "unix_stream_socket", "connectto"), "us may not connect to processes of type init_t"),
    ],
)
def test_each_denial_is_named(rule: tuple[str, str, str, str], text: str) -> None:
    assert list(denials(Played(rule), "us", WAY, "init_t")) == [text]


def test_what_is_allowed_is_no_denial() -> None:
    assert list(denials(Played(), "us", WAY, "init_t")) == []


def test_the_ports_of_milters_have_a_type_of_their_own() -> None:
    rules = Played(("us", "milter_port_t", "tcp_socket", "name_connect"))
    assert (denies_port(rules, "us", 8891), denies_port(rules, "us", 10025)) == (True, False)


@pytest.mark.parametrize(
    ("types", "domain"), [(("milter_manager_t",), "milter_manager_t"), ((), "unconfined_service_t")]
)
def test_without_our_module_the_daemon_is_unconfined(types: tuple[str, ...], domain: str) -> None:
    assert our_domain(Played(types=types)) == domain


@pytest.mark.parametrize(
    ("context", "kind"),
    [("system_u:object_r:milter_port_t:s0", "milter_port_t"), ("", ""), ("nonsense", "")],
)
def test_the_type_of_a_context_is_its_third_part(context: str, kind: str) -> None:
    assert type_of(context) == kind


def test_without_selinux_there_is_no_policy(tmp_path: Path) -> None:
    assert policy(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(("text", "is_enforcing"), [("1", True), ("0", False), ("", False)])
def test_whether_the_policy_is_enforced_is_read(tmp_path: Path, text: str, is_enforcing: bool) -> None:
    (tmp_path / "enforce").write_text(text)
    found = policy(str(tmp_path))
    assert found is not None
    assert found.is_enforcing is is_enforcing


def test_a_kernel_that_gives_no_answer_leaves_it_open(tmp_path: Path) -> None:
    (tmp_path / "enforce").write_text("1")
    assert KernelPolicy(str(tmp_path)).allows("a_t", "b_t", "sock_file", "write") is None
