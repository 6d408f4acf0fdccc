"""``mmgr.config.checks``: rules between settings, over records made by hand."""

from __future__ import annotations

import dataclasses

import pytest

from mmgr.config.checks import Finding, check
from mmgr.config.model import (
    ChildSettings,
    Config,
    ControllerSettings,
    ManagerSettings,
    MetricsSettings,
    Origin,
    WorkerSettings,
)
from mmgr.endpoint import parse_endpoint


def config(listeners: str = "unix:/m", **children: str) -> Config:
    """A configuration with these sockets, several between commas."""
    return Config(
        manager=ManagerSettings(connection_spec=tuple(parse_endpoint(text) for text in listeners.split(","))),
        children=tuple(child(name, sockets) for name, sockets in children.items()),
    )


def child(name: str, sockets: str, **settings: object) -> ChildSettings:
    return ChildSettings(name, tuple(parse_endpoint(text) for text in sockets.split(",")), **settings)  # type: ignore[arg-type]


def said(found: list[Finding]) -> list[tuple[bool, str, str]]:
    return [(finding.is_error, finding.key, finding.problem) for finding in found]


def test_a_plain_configuration_has_no_said_of() -> None:
    assert check(config("unix:/m,inet:10025", a="unix:/a", b="inet:10026,inet:10026@192.0.2.1")) == []


@pytest.mark.parametrize(
    "listeners",
    [
        "unix:/m,unix:/m",
        "unix:/run/m,unix:/var/run/m",
        "unix:/run/m,unix:/run//x/../m",
        "inet:1,inet:1",
        "inet:1,inet:1@0.0.0.0",
        "inet:1@localhost,inet:1@127.0.0.1",
        "inet6:1,inet6:1@[::]",
        "inet:1@mx,inet:1@MX",
    ],
)
def test_a_listener_that_is_listed_twice_is_an_error(listeners: str) -> None:
    second = listeners.split(",")[1]
    expected = (True, "manager.connection_spec", f"{parse_endpoint(second)} is listed twice")
    assert said(check(config(listeners))) == [expected]


@pytest.mark.parametrize("listeners", ["inet:1,inet:2", "inet:1,inet6:1", "inet:1@a,inet:1@b", "unix:/m,unix:m"])
def test_different_listeners_are_good(listeners: str) -> None:
    assert check(config(listeners)) == []


@pytest.mark.parametrize(
    ("listener", "socket"),
    [
        ("unix:/m", "unix:/m"),
        ("unix:/run/m", "unix:/var/run/m"),
        ("inet:1", "inet:1"),
        ("inet:1", "inet:1@localhost"),
        ("inet:1", "inet:1@127.0.0.1"),
        ("inet:1", "inet:1@0.0.0.0"),
        ("inet:1@localhost", "inet:1"),
        ("inet:1@127.0.0.1", "inet:1@LOCALHOST"),
        ("inet6:1", "inet6:1@[::1]"),
        ("inet:1@mx", "inet:1@mx"),
    ],
)
def test_a_milter_behind_one_of_our_own_sockets_is_an_error(listener: str, socket: str) -> None:
    ((is_error, key, problem),) = said(check(config(f"unix:/other,{listener}", a=f"unix:/a,{socket}")))
    assert (is_error, key, "which makes a loop" in problem) == (True, "milters.a.connection_spec", True)


@pytest.mark.parametrize(
    ("listener", "socket"),
    [("inet:1", "inet:2"), ("inet:1", "inet6:1"), ("inet:1", "inet:1@192.0.2.1"), ("inet:1@192.0.2.1", "inet:1")],
)
def test_a_socket_that_is_not_ours_as_far_as_its_text_tells_is_good(listener: str, socket: str) -> None:
    assert check(config(listener, a=socket)) == []


def test_a_disabled_milter_may_not_make_a_loop_either() -> None:
    looping = Config(manager=config("unix:/m").manager, children=(child("a", "unix:/m", enabled=False),))
    assert [finding.is_error for finding in check(looping)] == [True]


def test_two_milters_on_one_socket_are_a_warning_at_the_second() -> None:
    expected = (False, "milters.b.connection_spec", "inet:1@localhost is the socket of milter a too")
    assert said(check(config(a="inet:1@127.0.0.1", b="inet:1@localhost"))) == [expected]


def test_a_milter_that_lists_a_socket_twice_is_a_warning() -> None:
    expected = (False, "milters.a.connection_spec", "unix:/a is listed twice")
    assert said(check(config(a="unix:/a,unix:/a"))) == [expected]


def test_a_disabled_milter_may_share_a_socket() -> None:
    children = (child("a", "unix:/a"), child("b", "unix:/a", enabled=False))
    assert check(Config(children=children)) == []


@pytest.mark.parametrize(
    ("key", "limit"),
    [("connection_timeout", 30), ("writing_timeout", 30), ("reading_timeout", 30), ("end_of_message_timeout", 300)],
)
def test_a_deadline_that_postfix_does_not_wait_for_is_a_warning(key: str, limit: int) -> None:
    late = Config(children=(child("a", "unix:/a", **{f"{key}_s": float(limit)}),))
    problem = f"{limit} seconds are not below the {limit} that Postfix waits"
    assert said(check(late)) == [(False, f"milters.a.{key}", problem)]


@pytest.mark.parametrize("key", ["connection_timeout", "writing_timeout", "reading_timeout"])
def test_a_deadline_just_below_the_one_of_postfix_is_good(key: str) -> None:
    assert check(Config(children=(child("a", "unix:/a", **{f"{key}_s": 29.9}),))) == []


def test_deadlines_of_a_disabled_milter_do_not_matter() -> None:
    assert check(Config(children=(child("a", "unix:/a", enabled=False, reading_timeout_s=99.0),))) == []


def said_of(config: Config) -> list[tuple[bool, str, str]]:
    return said(check(config))


def test_conditions_that_never_apply_together_are_a_warning() -> None:
    both = ("Authenticated", "Unauthenticated")
    config = Config(children=(child("a", "unix:/a", applicable_conditions=both),))
    expected = (False, "milters.a.applicable_conditions", "Authenticated and Unauthenticated never apply together")
    assert said_of(config) == [expected]


def test_a_block_list_condition_without_block_lists_is_a_warning() -> None:
    config = Config(children=(child("a", "unix:/a", applicable_conditions=("DNSBL Listed",)),))
    expected = (False, "milters.a.applicable_conditions", "DNSBL Listed never applies, as no block list is configured")
    assert said_of(config) == [expected]


def test_what_changes_bodies_behind_a_signer_is_a_warning() -> None:
    config = Config(children=(child("opendkim", "unix:/a"), child("amavisd-milter", "unix:/b")))
    text = "amavisd-milter may change messages that opendkim has signed already"
    assert said_of(config) == [(False, "milters.amavisd-milter.connection_spec", text)]


def test_what_changes_the_bodies_of_strangers_alone_may_stand_behind_a_signer() -> None:
    changer = child("amavisd-milter", "unix:/b", applicable_conditions=("Unauthenticated",))
    assert said_of(Config(children=(child("opendkim", "unix:/a"), changer))) == []


def test_a_signer_behind_what_changes_bodies_is_fine() -> None:
    assert said_of(Config(children=(child("amavisd-milter", "unix:/b"), child("opendkim", "unix:/a")))) == []


def test_what_reads_results_of_dkim_in_front_of_what_writes_them_is_a_warning() -> None:
    config = Config(children=(child("opendmarc", "unix:/a"), child("opendkim", "unix:/b")))
    text = "opendmarc looks for the results of opendkim, which comes behind it"
    assert said_of(config) == [(False, "milters.opendmarc.connection_spec", text)]


@pytest.mark.parametrize("conditions", [(), ("Unauthenticated",)])
def test_what_reads_results_of_dkim_behind_what_writes_them_is_fine(conditions: tuple[str, ...]) -> None:
    children = (child("opendkim", "unix:/b"), child("opendmarc", "unix:/a", applicable_conditions=conditions))
    assert said_of(Config(children=children)) == []


def test_what_signs_the_mail_of_our_own_users_writes_no_results() -> None:
    signer = child("opendkim", "unix:/b", applicable_conditions=("Authenticated",))
    assert said_of(Config(children=(child("opendmarc", "unix:/a"), signer))) == []


# ---- the pool


def pool(**workers: int) -> list[tuple[bool, str, str]]:
    """Findings about a pool all of whose keys are written down."""
    origins = {f"workers.{key}": Origin("a:1", "a", 1) for key in workers}
    return said(check(Config(workers=WorkerSettings(**workers), origins=origins)))  # type: ignore[arg-type]


def test_a_pool_with_sensible_limits_is_good() -> None:
    assert pool(min_spare=2, max_spare=2, max_workers=2) == []


def test_a_pool_that_follows_postfix_is_good() -> None:
    assert pool(min_spare=50, max_spare=60, max_workers=0) == []


def test_fewer_spare_workers_at_most_than_at_least_is_an_error() -> None:
    assert pool(min_spare=5, max_spare=4) == [(True, "workers.max_spare", "4 is below min_spare, 5")]


def test_fewer_workers_than_spare_ones_is_a_warning() -> None:
    assert pool(min_spare=5, max_workers=4) == [(False, "workers.max_workers", "4 is below min_spare, 5")]


def test_limits_beside_a_fixed_number_are_a_warning() -> None:
    assert pool(n_workers=7, max_workers=40) == [
        (False, "workers.max_workers", "without effect, as n_workers fixes the pool at 7")
    ]


# ---- control sockets


def control(spec: str = "unix:/c", listeners: str = "unix:/m", **settings: object) -> list[tuple[bool, str, str]]:
    """Findings about a control socket; sockets in settings are text."""
    records = {key: parse_endpoint(str(value)) if key.endswith("spec") else value for key, value in settings.items()}
    controller = ControllerSettings(connection_spec=parse_endpoint(spec), **records)  # type: ignore[arg-type]
    return said(check(dataclasses.replace(config(listeners), controller=controller)))


def test_a_private_control_socket_beside_a_public_one_for_reading_is_good() -> None:
    assert control(read_only_connection_spec="inet:10027") == []


def test_a_control_socket_without_permissions_is_an_error() -> None:
    problem = "inet:10026@127.0.0.1 has no permissions, so that everybody who can connect could stop the daemon"
    assert control("inet:10026@127.0.0.1") == [(True, "controller.connection_spec", problem)]


def test_a_control_socket_that_the_mta_uses_too_is_an_error() -> None:
    assert control("unix:/var/run/m", "unix:/run/m") == [
        (True, "controller.connection_spec", "unix:/var/run/m is listed twice")
    ]


def test_two_control_sockets_in_the_same_place_are_an_error() -> None:
    expected = (True, "controller.read_only_connection_spec", "unix:/c is listed twice")
    assert control(read_only_connection_spec="unix:/c") == [expected]


def test_a_milter_at_the_control_socket_is_a_loop() -> None:
    looped = dataclasses.replace(
        config(a="unix:/c"), controller=ControllerSettings(connection_spec=parse_endpoint("unix:/c"))
    )
    assert [finding.key for finding in check(looped) if finding.is_error] == ["milters.a.connection_spec"]


def test_a_group_that_the_mode_keeps_out_is_a_warning() -> None:
    expected = (False, "controller.unix_socket_mode", "mode 0600 does not let the group adm connect")
    assert control(unix_socket_group="adm") == [expected]
    assert control(unix_socket_group="adm", unix_socket_mode=0o660) == []


def test_a_control_socket_for_everybody_is_a_warning() -> None:
    expected = (False, "controller.unix_socket_mode", "mode 0666 lets every user of this machine stop the daemon")
    assert control(unix_socket_mode=0o666) == [expected]


# ---- metrics


def metrics(spec: str = "", **settings: object) -> list[tuple[bool, str, str]]:
    """Findings about the metrics beside a listener on unix:/m and a control socket on unix:/c."""
    made = MetricsSettings(parse_endpoint(spec) if spec else None, **settings)  # type: ignore[arg-type]
    controller = ControllerSettings(connection_spec=parse_endpoint("unix:/c"))
    return said(check(dataclasses.replace(config("unix:/m"), controller=controller, metrics=made)))


@pytest.mark.parametrize(
    "spec",
    ["unix:/x", "inet:9@127.0.0.1", "inet:9@127.9.9.9", "inet:9@localhost", "inet:9@LOCALHOST", "inet6:9@[::1]"],
)
def test_metrics_that_this_machine_alone_can_read_are_good(spec: str) -> None:
    assert metrics(spec, file="/x/y.prom") == []


@pytest.mark.parametrize(
    "spec", ["inet:9", "inet:9@0.0.0.0", "inet:9@192.0.2.1", "inet6:9", "inet6:9@[::]", "inet:9@mail.example.net"]
)
def test_metrics_that_others_could_read_are_an_error(spec: str) -> None:
    problem = f"{spec} may be connected from other machines, and nobody is asked who they are"
    assert metrics(spec) == [(True, "metrics.connection_spec", problem)]


@pytest.mark.parametrize("spec", ["unix:/m", "unix:/c"])
def test_metrics_on_a_socket_that_is_taken_are_an_error(spec: str) -> None:
    assert metrics(spec) == [(True, "metrics.connection_spec", f"{spec} is listed twice")]


def test_a_milter_at_the_socket_of_the_metrics_is_a_loop() -> None:
    looped = dataclasses.replace(config(a="unix:/x"), metrics=MetricsSettings(parse_endpoint("unix:/x")))
    assert [finding.key for finding in check(looped) if finding.is_error] == ["milters.a.connection_spec"]


def test_a_group_that_the_mode_of_the_metrics_keeps_out_is_a_warning() -> None:
    problem = "mode 0644 does not let the group adm connect"
    found = metrics("unix:/x", unix_socket_group="adm", unix_socket_mode=0o644)
    assert found == [(False, "metrics.unix_socket_mode", problem)]


def test_a_file_of_metrics_that_is_not_read_is_a_warning() -> None:
    assert metrics(file="/x/metrics.txt") == [(False, "metrics.file", "/x/metrics.txt is not read by node_exporter")]


def test_a_file_of_metrics_somewhere_or_other_is_an_error() -> None:
    assert metrics(file="x.prom") == [(True, "metrics.file", "x.prom is no absolute path")]
