"""Services as the framework hands them to the files of the milters, made of a command line or of variables."""

from __future__ import annotations

from pathlib import Path

from mmgr.detect.base import Found, Where
from mmgr.detect.candidate import Candidate, Platform, Reading, Service
from mmgr.detect.registry import candidate

from ..trees import Content, plant

REDHAT = Platform("redhat8", "redhat")
DEBIAN = Platform("debian", "debian")
FREEBSD = Platform("freebsd", "freebsd", "/usr/local/etc", "/usr/local/etc/rc.d")
UNIT = Where("/usr/lib/systemd/system/x.service", 7)
SETTINGS = Where("/etc/sysconfig/x", 3)


def started_by(name: str, command: str, user: str = "", **variables: str) -> Service:
    """A unit with this command line; variables are those of its environment."""
    argv = tuple(Found(word, UNIT) for word in command.split())
    return Service(name, UNIT, Found(True, UNIT), argv=argv, environment=found(variables), user=user)


def script(name: str, prefix: str = "", profile: str = "", **variables: str) -> Service:
    """A start script whose settings assign these variables."""
    where = Where(f"/etc/init.d/{name}")
    return Service(name, where, Found(True, where), environment=found(variables), prefix=prefix, profile=profile)


def found(variables: dict[str, str]) -> dict[str, Found[str]]:
    """Variables with the place of a settings file."""
    return {name: Found(value, SETTINGS) for name, value in variables.items()}


def examine(root: Path, service: Service, files: dict[str, Content], platform: Platform = REDHAT) -> Reading:
    """What the milter's own file says of a service on a machine with these files."""
    return kind(service.name).examine(service, plant(root, files), platform)


def kind(name: str) -> Candidate:
    """The candidate of that name."""
    known = candidate((name,))
    assert known is not None, name
    return known


def socket(reading: Reading) -> str:
    """The socket, "" for none."""
    return reading.connection_spec.value if reading.connection_spec else ""


def place(reading: Reading) -> str:
    """Where the socket was read."""
    return str(reading.connection_spec.where) if reading.connection_spec else ""


def why_not(reading: Reading) -> str:
    """The reason and its place, "" for none."""
    return f"{reading.why_not.where}: {reading.why_not.value}" if reading.why_not else ""


def texts(reading: Reading) -> list[str]:
    """The problems with their places."""
    return [f"{each.where}: {each.text}" for each in reading.problems]
