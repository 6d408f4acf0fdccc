"""clamav-milter: ``MilterSocket`` of its configuration file, which ``-c`` may name.

A line ``Example`` keeps it from starting. Sources: clamav-milter.conf(5), optparser.c; the packages of EPEL 8 and
Debian 12. The socket can't be given on the command line. Releases before 0.95 had ``SOCKET_ADDRESS`` in the
settings of their script.
"""

from __future__ import annotations

from mmgr.detect.base import Found
from mmgr.detect.candidate import ALWAYS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.key_value import CLAMAV, example_line
from mmgr.detect.milters.options import Options
from mmgr.detect.tree import Tree

_MODE_HINT = "set MilterSocketMode 660, and MilterSocketGroup to a group of milter-manager"


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where clamav-milter listens, and whether it may start at all."""
    loaded = reading.load(service, tree, _configuration(service, tree, platform), CLAMAV)
    values = loaded.settings
    socket = values.found("MilterSocket") or reading.settings_variable(service, "SOCKET_ADDRESS")
    if socket is None and not loaded.is_readable:
        socket = reading.assumed(_package_socket(platform))
    socket = reading.seen_from_outside(socket, values.found("Chroot"))
    user = values.value("User", service.user)
    closed = reading.closed_socket(service, socket, values.found("MilterSocketMode"), _MODE_HINT)
    return reading.in_our_syntax(
        service,
        Reading(
            connection_spec=socket,
            why_not=_why_not(service, loaded, socket),
            socket_group=values.value("MilterSocketGroup") or service.group or reading.group_of(tree, user),
            user=user,
            problems=(*loaded.problems, *closed),
        ),
    )


def _configuration(service: Service, tree: Tree, platform: Platform) -> str:
    """The file that the command line or the script names, else the first of the packages' that is there."""
    options = Options(reading.words_of(service, "CLAMAV_FLAGS", "OPTIONS"), "c", ("config-file",))
    named = options.found("c", "config-file") or reading.settings_variable(
        service, "CLAMAVCONF", "CLAMAVMILTERCONF", "conf_file"
    )
    if named:
        return named.value
    directory = platform.configuration
    places = [f"{directory}/clamav/clamav-milter.conf", f"{directory}/mail/clamav-milter.conf"]
    if platform.family != "debian":
        places.reverse()
    return reading.first_there(tree, *places, f"{directory}/clamav-milter.conf")


def _why_not(service: Service, loaded: reading.Loaded, socket: Found[str] | None) -> Found[str] | None:
    example = example_line(loaded.lines)
    if example is not None:
        return Found("the line Example is still there; remove it when the file is ready", example)
    if socket is not None:
        return None
    if loaded.is_there:
        return Found("no MilterSocket is set", loaded.where)
    return Found(f"there is no {loaded.path}", service.unit)


def _package_socket(platform: Platform) -> str:
    socket = "/run/clamav-milter/clamav-milter.socket"
    return reading.of_family(
        platform, socket, debian="/run/clamav/clamav-milter.ctl", freebsd="/run/clamav/clmilter.sock"
    )


CANDIDATE = Candidate(("clamav-milter",), examine, ALWAYS)
