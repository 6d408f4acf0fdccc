"""What the configuration says, as frozen records: the only form in which the rest of the program knows it.

No file is read here and nothing is checked: ``loader`` makes these records, ``checks`` judges, ``writer`` prints them.
Field names are the configuration's keys, with the unit where the key's own name has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from mmgr.conditions import s25r, trust
from mmgr.conditions.base import Condition
from mmgr.config.origin import Origin as Origin
from mmgr.endpoint import Endpoint


class FallbackStatus(Enum):
    """What a child that failed counts as; names as in the configuration."""

    ACCEPT = "accept"
    REJECT = "reject"
    TEMPORARY_FAILURE = "temporary-failure"
    DISCARD = "discard"


class EnvelopeDispatch(Enum):
    """How the children are asked at connect to data: all at once, or one after another."""

    PARALLEL = "parallel"
    SEQUENTIAL = "sequential"


class Overload(Enum):
    """What becomes of a session while every worker is busy and no more may be started."""

    WAIT = "wait"
    ACCEPT = "accept"
    TEMPORARY_FAILURE = "temporary-failure"


@dataclass(frozen=True)
class PackageSettings:
    """``[package]``: what detection assumes of the platform."""

    detection: bool = True
    platform: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class SecuritySettings:
    """``[security]``: whom the daemon becomes when it was started as root; empty names are chosen at the start."""

    effective_user: str = ""
    effective_group: str = ""


@dataclass(frozen=True)
class LogSettings:
    """``[log]``. level is one of error, warning, info, debug; path empty or "-" is standard error.

    form is text or json, journal auto or no.
    """

    level: str = "info"
    path: str = ""
    use_syslog: bool = True
    syslog_facility: str = "mail"
    form: str = "text"
    journal: str = "auto"
    statistics: bool = False


@dataclass(frozen=True)
class ManagerSettings:
    """``[manager]``: the side that the MTA sees, and what holds for every session."""

    connection_spec: tuple[Endpoint, ...] = (Endpoint("unix", path="/run/milter-manager/milter-manager.sock"),)
    unix_socket_mode: int = 0o660
    unix_socket_group: str = ""
    remove_unix_socket_on_create: bool = True
    remove_unix_socket_on_close: bool = True
    daemon: bool = False
    pid_file: str = ""
    fallback_status: FallbackStatus = FallbackStatus.ACCEPT
    envelope_dispatch: EnvelopeDispatch = EnvelopeDispatch.PARALLEL
    milter_order: tuple[str, ...] = ()
    chunk_size_bytes: int = 65535
    spool_threshold_bytes: int = 1048576
    spool_directory: str = ""


@dataclass(frozen=True)
class WorkerSettings:
    """``[workers]``: how many there are, when one is replaced, and how long an ending one may take.

    n_workers above 0 fixes their number; else it lies between the spare limits and max_workers, of which 0 follows
    Postfix. Limits of 0 on sessions, age and memory are none.
    """

    n_workers: int = 0
    min_spare: int = 4
    max_spare: int = 12
    max_workers: int = 0
    overload: Overload = Overload.WAIT
    max_sessions: int = 10000
    max_age_s: int = 86400
    max_memory_bytes: int = 268435456
    hang_timeout_s: float = 30.0
    drain_timeout_s: float = 300.0


_CONTROL = Endpoint("unix", path="/run/milter-manager/control.sock")


@dataclass(frozen=True)
class ControllerSettings:
    """``[controller]``: the control socket of milter-managerctl, and a second one that only tells. None is off."""

    connection_spec: Endpoint | None = _CONTROL
    unix_socket_mode: int = 0o600
    unix_socket_group: str = ""
    read_only_connection_spec: Endpoint | None = None
    read_only_unix_socket_mode: int = 0o666
    read_only_unix_socket_group: str = ""


@dataclass(frozen=True)
class MetricsSettings:
    """``[metrics]``: where what is counted can be read. Neither socket nor file is off."""

    connection_spec: Endpoint | None = None
    unix_socket_mode: int = 0o666
    unix_socket_group: str = ""
    file: str = ""
    file_interval_s: float = 15.0

    @property
    def is_on(self) -> bool:
        """Are they wanted at all?"""
        return self.connection_spec is not None or bool(self.file)


@dataclass(frozen=True)
class ChildSettings:
    """One ``[[child]]`` of ``[milters]``. Timeouts in seconds.

    connection_spec lists one endpoint or more; only a child that is not enabled may have none.
    """

    name: str
    connection_spec: tuple[Endpoint, ...]
    description: str = ""
    enabled: bool = True
    fallback_status: FallbackStatus = FallbackStatus.ACCEPT
    evaluation_mode: bool = False
    applicable_conditions: tuple[str, ...] = ()
    scan_group: str = ""
    pipelining: bool = True
    connection_timeout_s: float = 10.0
    writing_timeout_s: float = 25.0
    reading_timeout_s: float = 25.0
    end_of_message_timeout_s: float = 290.0
    breaker_failures: int = 5
    breaker_retry_s: float = 10.0


@dataclass(frozen=True)
class S25RSettings:
    """``[[S25R]]`` of ``[conditions]``."""

    only_check_ipv4: bool = True
    whitelist: tuple[str, ...] = s25r.WHITELIST
    blacklist: tuple[str, ...] = ()


@dataclass(frozen=True)
class RemoteNetworkSettings:
    """``[[Remote Network]]`` of ``[conditions]``."""

    local_addresses: tuple[str, ...] = ()
    remote_addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrustSettings:
    """``[[Trust]]`` of ``[conditions]``."""

    envelope_from_domains: tuple[str, ...] = trust.ENVELOPE_FROM_DOMAINS


@dataclass(frozen=True)
class DnsblSettings:
    """``[[DNSBL Listed]]`` and ``[[Not DNSBL Listed]]`` of ``[conditions]``."""

    services: tuple[str, ...] = ()


@dataclass(frozen=True)
class OwnCondition:
    """A condition of the administrator's: one of expression and accounts says what it is."""

    name: str
    description: str = ""
    expression: str = ""
    accounts: tuple[str, ...] = ()


def _built_in() -> dict[str, object]:
    return {
        "S25R": S25RSettings(),
        "Remote Network": RemoteNetworkSettings(),
        "Trust": TrustSettings(),
        "DNSBL Listed": DnsblSettings(),
        "Not DNSBL Listed": DnsblSettings(),
    }


@dataclass(frozen=True)
class ConditionSettings:
    """``[conditions]``. built_in has the record of each built-in condition that can be set, by its name.

    stress_threshold counts busy workers; 0 is three quarters of all that there may be.
    """

    stress_threshold: int = 0
    dns_name_servers: tuple[str, ...] = ()
    dns_timeout_s: float = 5.0
    plugins: bool = False
    built_in: Mapping[str, object] = field(default_factory=_built_in)
    own: tuple[OwnCondition, ...] = ()


@dataclass(frozen=True)
class Config:
    """One reading of the configuration: immutable, handed to the workers at their fork.

    children keeps the configured order; origins maps a dotted key ("manager.connection_spec",
    "milters.NAME.enabled") to where its value came from, default where absent. compiled has every condition that a
    child may name: built in, of the configuration, and of plug-ins.
    """

    package: PackageSettings = PackageSettings()
    security: SecuritySettings = SecuritySettings()
    log: LogSettings = LogSettings()
    manager: ManagerSettings = ManagerSettings()
    workers: WorkerSettings = WorkerSettings()
    controller: ControllerSettings = ControllerSettings()
    metrics: MetricsSettings = MetricsSettings()
    conditions: ConditionSettings = ConditionSettings()
    children: tuple[ChildSettings, ...] = ()
    origins: Mapping[str, Origin] = field(default_factory=dict)
    directory: str | None = None
    compiled: Mapping[str, Condition] = field(default_factory=dict, compare=False, repr=False)

    @property
    def enabled_children(self) -> tuple[ChildSettings, ...]:
        """The children that sessions use, in order."""
        return tuple(child for child in self.children if child.enabled)

    @property
    def has_conditions(self) -> bool:
        """Does any of them depend on conditions?"""
        return any(child.applicable_conditions for child in self.enabled_children)
