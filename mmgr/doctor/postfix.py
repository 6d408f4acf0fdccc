"""Whether Postfix asks us, can reach our socket, waits long enough and tells what conditions need to know.

It reads main.cf and master.cf below a root directory itself, so that neither postconf nor a running Postfix is needed.
"""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mmgr.config.model import ChildSettings, Config
from mmgr.detect.tree import Absent, Tree, Unreadable
from mmgr.doctor.findings import ERROR, NOTE, OK, POSTFIX, WARNING, Finding
from mmgr.doctor.maincf import MainCf, Service, parse_main, parse_master
from mmgr.doctor.milterlist import Item, items, plain_path, same, written
from mmgr.endpoint import Endpoint

CONFIG_DIRECTORY = "/etc/postfix"
RELOAD = "postfix reload"


@dataclass(frozen=True)
class Place:
    """An smtpd or cleanup of master.cf with the parameters that hold in it. labels are all that are alike."""

    labels: tuple[str, ...]
    main: MainCf
    is_chrooted: bool
    is_overridden: bool

    @property
    def name(self) -> str:
        """For people."""
        return ", ".join(self.labels)


@dataclass(frozen=True)
class PostfixFiles:
    """What was read. directory is where, as Postfix's commands take it."""

    main: MainCf
    services: tuple[Service, ...]
    directory: str = CONFIG_DIRECTORY

    def places(self, command: str, parameter: str) -> list[Place]:
        """The services that run a program, those alike put together; a nameless one where master.cf is not known."""
        found: dict[tuple[str, bool, bool], list[str]] = {}
        mains: dict[tuple[str, bool, bool], MainCf] = {}
        for service in self.services:
            if posixpath.basename(service.command) == command:
                main = self.main.of_service(service.overrides)
                key = (main.value(parameter), self.is_chrooted(service), parameter in service.overrides)
                found.setdefault(key, []).append(service.label)
                mains.setdefault(key, main)
        if not found and not self.services:
            return [Place((command,), self.main, False, False)]
        return [Place(tuple(labels), mains[key], key[1], key[2]) for key, labels in found.items()]

    def is_chrooted(self, service: Service) -> bool:
        """The column "-" is yes before compatibility level 1, no since."""
        if service.chroot in ("y", "n"):
            return service.chroot == "y"
        level = self.main.value("compatibility_level").partition(".")[0]
        return not (level.isdigit() and int(level) >= 1)


@dataclass(frozen=True)
class Reach:
    """That the processes of a place connect to one of our listeners, at a path as they see it from outside."""

    place: Place
    item: Item
    listener: Endpoint
    path: str


def read(tree: Tree, directory: str = CONFIG_DIRECTORY) -> tuple[PostfixFiles | None, list[Finding]]:
    """Postfix's files, None where there are none that can be read, and what is to be said about that."""
    try:
        main = parse_main(line.text for line in tree.lines(f"{directory}/main.cf"))
    except Absent:
        return None, [Finding(POSTFIX, NOTE, f"there is no {directory}/main.cf: Postfix was not looked at")]
    except Unreadable as error:
        return None, [Finding(POSTFIX, WARNING, f"{error}: Postfix was not looked at", "# run this as root")]
    try:
        services = parse_master(line.text for line in tree.lines(f"{directory}/master.cf"))
    except Unreadable as error:
        found = Finding(POSTFIX, NOTE, f"{error}: options of single services are not known")
        return PostfixFiles(main, (), directory), [found]
    return PostfixFiles(main, tuple(services), directory), []


def judge(files: PostfixFiles, config: Config) -> tuple[list[Finding], list[Reach]]:
    """What the files alone say, and how Postfix's processes get to our sockets: for whoever looks at these."""
    listeners = config.manager.connection_spec
    places = files.places("smtpd", "smtpd_milters")
    findings: list[Finding] = []
    reaches: list[Reach] = []
    for place in places:
        listed = items(place.main.value("smtpd_milters"))
        reaches += _reaches(place, listed, listeners)
        findings += _broken(files, place, "smtpd_milters", listed)
        findings += _twice(files, place, listed, config)
    findings += _asked(files, places, reaches, listeners)
    is_asked = bool(reaches)
    for place in files.places("cleanup", "non_smtpd_milters"):
        listed = items(place.main.value("non_smtpd_milters"))
        found = _reaches(place, listed, listeners)
        findings += _broken(files, place, "non_smtpd_milters", listed)
        findings += _local_mail(files, found, is_asked)
        reaches += found
    return findings, reaches


def _reaches(place: Place, listed: Sequence[Item], listeners: Sequence[Endpoint]) -> list[Reach]:
    found = []
    for item in listed:
        if item.endpoint is None:
            continue
        seen = outside(item.endpoint, place)
        for listener in listeners:
            named = same(item.endpoint, listener, True)  # also one that the chroot hides, so that this can be said
            if named or same(seen, listener, True):
                found.append(Reach(place, item, listener, seen.path))
                break
    return found


def outside(endpoint: Endpoint, place: Place) -> Endpoint:
    """Where a unix socket of Postfix's list is: relative paths, and all paths in a chroot, are below the queue."""
    if endpoint.kind != "unix" or (endpoint.path.startswith("/") and not place.is_chrooted):
        return endpoint
    queue = place.main.value("queue_directory")
    return Endpoint("unix", path=plain_path(f"{queue}/{endpoint.path}"))


def _asked(
    files: PostfixFiles, places: Sequence[Place], reaches: Sequence[Reach], listeners: Sequence[Endpoint]
) -> Iterator[Finding]:
    """Whether each smtpd asks us."""
    asking = {label for reach in reaches for label in reach.place.labels}
    for place in places:
        value = place.main.value("smtpd_milters")
        if set(place.labels) <= asking:
            yield Finding(POSTFIX, OK, f"{place.name}: smtpd_milters names our socket")
        elif place.is_overridden and not value:
            yield Finding(
                POSTFIX, NOTE, f"{place.name}: master.cf switches milters off for it, its mail is not filtered"
            )
        elif listeners:
            what = f"smtpd_milters is {value}" if value else "smtpd_milters is empty"
            level = WARNING if asking else ERROR
            hint = edit(files, place, "smtpd_milters", _with_us(value, listeners[0]))
            yield Finding(
                POSTFIX, level, f"{place.name}: {what}, which is not our socket: its mail is not filtered", hint
            )
        if place.main.value("smtpd_milter_maps") and set(place.labels) <= asking:
            yield Finding(
                POSTFIX, NOTE, f"{place.name}: smtpd_milter_maps may take other milters for some of its clients"
            )


def _with_us(value: str, listener: Endpoint) -> str:
    """A list with our socket behind what stands there already."""
    return ", ".join([*(item.text for item in items(value) if item.endpoint), written(listener)])


def _local_mail(files: PostfixFiles, found: Sequence[Reach], is_asked: bool) -> Iterator[Finding]:
    if found:
        yield Finding(POSTFIX, OK, "non_smtpd_milters names our socket: mail of the sendmail command is filtered too")
    elif is_asked:
        text = "non_smtpd_milters does not have our socket: mail of the sendmail command is not filtered, nor signed"
        yield Finding(POSTFIX, NOTE, text, edit(files, None, "non_smtpd_milters", "$smtpd_milters"))


def _broken(files: PostfixFiles, place: Place, parameter: str, listed: Sequence[Item]) -> Iterator[Finding]:
    """Items that Postfix can't read: it answers all mail with a temporary failure."""
    for item in listed:
        if item.endpoint is None:
            value = ", ".join(each.better or each.text if each is item else each.text for each in listed)
            hint = edit(files, place, parameter, value) if item.better else ""
            yield Finding(POSTFIX, ERROR, f"{place.name}: {parameter} has {item.text}: {item.problem}", hint)


def _twice(files: PostfixFiles, place: Place, listed: Sequence[Item], config: Config) -> Iterator[Finding]:
    """Children that Postfix asks itself as well, where it asks us."""
    if not _reaches(place, listed, config.manager.connection_spec):
        return
    for item in listed:
        child = _child_at(item, place, config.enabled_children)
        if child is not None:
            value = ", ".join(each.text for each in listed if each is not item)
            text = f"{place.name}: smtpd_milters has {item.text} besides our socket: it filters each message twice"
            yield Finding(child.name, WARNING, text, edit(files, place, "smtpd_milters", value))


def _child_at(item: Item, place: Place, children: Sequence[ChildSettings]) -> ChildSettings | None:
    if item.endpoint is None:
        return None
    seen = outside(item.endpoint, place)
    return next((child for child in children if any(same(seen, spec) for spec in child.connection_spec)), None)


def edit(files: PostfixFiles, place: Place | None, parameter: str, value: str) -> str:
    """What sets a parameter: in main.cf, or in each service of master.cf that has its own."""
    where = "" if files.directory == CONFIG_DIRECTORY else f"-c {shlex.quote(files.directory)} "
    if place is None or not place.is_overridden:
        return f"postconf {where}-e {shlex.quote(f'{parameter} = {value}')}\n{RELOAD}"
    packed = value.replace(", ", ",")
    lines = [f"postconf {where}-P {shlex.quote(f'{label}/{parameter}={packed}')}" for label in place.labels]
    return "\n".join([*lines, RELOAD])
