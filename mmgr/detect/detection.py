"""Finds the milters of a tree: ``detect`` puts platform, services, the milters' own settings and their order together.

The configuration's loader calls it, at a start and at each reload. It reads files and nothing else: no program is run,
no socket is opened. A milter whose detection fails is reported and left out; the others are not touched by that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from mmgr.detect import bsd, generic, registry, systemd, sysv
from mmgr.detect.base import Detected, Detection, Found, Problem, Where
from mmgr.detect.candidate import Candidate, Platform, Reading, Service
from mmgr.detect.platforms import identify
from mmgr.detect.specs import our_spec
from mmgr.detect.tree import Tree, Unreadable
from mmgr.detect.unitpath import UnitPath
from mmgr.endpoint import parse_endpoint
from mmgr.errors import EndpointError

MAX_TEXT = 300
"""Characters of a description or of a problem; more is cut."""

NO_OPTIONS: Mapping[str, str] = {}
_ASSUMED = "the package's default"
_NO_SOCKET = "nothing says where it listens"
_NO_SOCKET_HINT = "set its socket in its own configuration, or connection_spec of this milter in ours"
_BUG_HINT = "please report this; until then define the milter in the configuration"
_ACCOUNT = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True)
class Offer:
    """One service that may be a milter: names are all that it has, best first, kind is None for one nobody knows."""

    service: Service
    names: tuple[str, ...]
    kind: Candidate | None


def detect(root: str = "/", platform: str = "", options: Mapping[str, str] = NO_OPTIONS) -> Detection:
    """All milters that are installed below a root directory, in the order in which they should see a message.

    platform overrides what the tree looks like. options are those of ``[package]``: ``prefix`` and ``rcddir`` for
    pkgsrc; ``names``, words, are services that count as milters although nothing says so. Never raises: what can't be
    read is among the problems. Blocks for as long as reading some hundred small files takes.
    """
    tree = Tree(root)
    try:
        system = identify(tree, platform, options)
    except Exception as error:  # noqa: BLE001  a start or a reload never fails because of detection
        return Detection(platform, problems=(_bug("", Where(_clean(root)), error),))
    search = _Search(tree, system, frozenset(options.get("names", "").split()))
    search.run()
    return search.result()


@dataclass
class _Search:
    """One detection on its way: what was found so far."""

    tree: Tree
    platform: Platform
    wanted: frozenset[str]
    found: list[tuple[Offer, Detected]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def run(self) -> None:
        if not self.tree.exists("/"):
            self.problems.append(Problem("", Where("/"), f"there is no directory {self.tree.root}"))
            return
        offers = _Offers(self.tree, self.platform, self.wanted, self.problems)
        for offer in offers.all():
            try:
                self._take(offer)
            except Exception as error:  # noqa: BLE001  one milter must not hide the others
                self.problems.append(_bug(offer.service.name, offer.service.unit, error))

    def result(self) -> Detection:
        """Everything in order, fit to be printed."""
        found = sorted(self.found, key=lambda each: registry.place(self.platform, each[0].names))
        milters = tuple(_printable(detected) for _, detected in found)
        problems = [*self.problems, *_doubles(milters)]
        return Detection(self.platform.name, milters, tuple(dict.fromkeys(map(_printable_problem, problems))))

    def _take(self, offer: Offer) -> None:
        service = offer.service
        reading = self._reading(offer)
        if offer.kind is None and reading.connection_spec is None and not self.wanted & set(offer.names):
            return
        spec = self._checked(service, reading.connection_spec)
        is_enabled, why_not = _enabled(service, reading, spec)
        self.problems += [replace(each, milter=each.milter or service.name) for each in service.problems]
        self.problems += reading.problems
        if spec is None and service.is_started.value and reading.why_not is None:
            self.problems.append(Problem(service.name, service.unit, _NO_SOCKET, _NO_SOCKET_HINT))
        detected = Detected(
            name=service.name,
            unit=service.unit,
            connection_spec=spec,
            is_enabled=is_enabled,
            description=service.description,
            conditions=offer.kind.conditions if offer.kind is not None else (),
            user=service.user or reading.user,
            group=service.group or reading.group,
            socket_group=reading.socket_group,
            extra_timeout_s=reading.extra_timeout_s,
            extra_timeout_where=reading.extra_timeout_where,
            why_not=why_not,
        )
        self.found.append((offer, detected))

    def _reading(self, offer: Offer) -> Reading:
        if offer.kind is None:
            return generic.examine(offer.service, self.tree, self.platform)
        try:
            return offer.kind.examine(offer.service, self.tree, self.platform)
        except Unreadable as error:
            default = offer.kind.default_socket(self.platform)
            text = f"{error.problem}; the package's default is assumed" if default else error.problem
            problem = Problem(offer.service.name, Where(error.path), text, error.hint)
            spec = Found(default, Where(_ASSUMED, is_assumed=True)) if default else None
            return Reading(spec, problems=(problem,))

    def _checked(self, service: Service, spec: Found[str] | None) -> Found[str] | None:
        """A socket that can be used, None with a problem where it can't."""
        if spec is None:
            return None
        try:
            if _clean(spec.value) != spec.value:
                raise EndpointError("the socket's name is not UTF-8")
            where = _origin(service, spec)
            return Found(_at_home(str(parse_endpoint(spec.value)), self.platform), where)
        except EndpointError as error:
            self.problems.append(Problem(service.name, spec.where, str(error), _NO_SOCKET_HINT))
            return None


@dataclass
class _Offers:
    """Goes through the services of a tree and picks those that may be milters."""

    tree: Tree
    platform: Platform
    wanted: frozenset[str]
    problems: list[Problem]

    def all(self) -> Iterator[Offer]:
        return self._of_linux() if self.platform.has_units else self._of_bsd()

    def _of_linux(self) -> Iterator[Offer]:
        path = UnitPath(self.tree)
        for name in path.names():
            try:
                service = systemd.service(self.tree, path, name)
            except Exception as error:  # noqa: BLE001  one unit must not hide the others
                self.problems.append(_bug(name, Where(name), error))
                continue
            if service is not None:
                yield from self._offer(service, (service.name, *service.aliases))
        self.problems += path.problems
        for script in sysv.names(self.tree, self.platform):
            if not path.fragment(f"{script}.service") and self._is_worth_reading(script):
                yield from self._of_script(script, path.mask(f"{script}.service"))

    def _is_worth_reading(self, script: str) -> bool:
        """Whether a script may be a milter's: of all others the shell text is not followed."""
        if script in self.wanted or registry.candidate((script,)) is not None or "milter" in script:
            return True
        try:
            description = sysv.description(self.tree.lines(f"{self.platform.scripts}/{script}"))
        except Unreadable:
            return False
        return description is not None and "milter" in description.value.lower()

    def _of_script(self, script: str, mask: str) -> Iterator[Offer]:
        where = Where(f"{self.platform.scripts}/{script}")
        try:
            yield from self._offer(sysv.service(self.tree, self.platform, script, mask), (script,))
        except Unreadable as error:
            self.problems.append(Problem(script, Where(error.path), error.problem, error.hint))
        except Exception as error:  # noqa: BLE001  one script must not hide the others
            self.problems.append(_bug(script, where, error))

    def _of_bsd(self) -> Iterator[Offer]:
        for script in bsd.names(self.tree, self.platform):
            try:
                services = bsd.services(self.tree, self.platform, script)
            except Unreadable as error:
                self.problems.append(Problem(script, Where(error.path), error.problem, error.hint))
                continue
            except Exception as error:  # noqa: BLE001  one script must not hide the others
                self.problems.append(_bug(script, Where(f"{self.platform.scripts}/{script}"), error))
                continue
            for service in services:
                yield from self._offer(service, tuple(dict.fromkeys((service.name, script))))

    def _offer(self, service: Service, names: tuple[str, ...]) -> Iterator[Offer]:
        if generic.is_ours(service):
            return
        kind = registry.candidate(names)
        if kind is None and not self.wanted & set(names) and not _is_likely(service):
            return
        yield Offer(service, names, kind)


def _is_likely(service: Service) -> bool:
    return generic.says_milter(service) and not generic.is_never(service.name)


def _enabled(service: Service, reading: Reading, spec: Found[str] | None) -> tuple[Found[bool], str]:
    """Whether a milter is used, and why not."""
    if not service.is_started.value:
        return service.is_started, service.why_not
    if reading.why_not is not None:
        return Found(False, reading.why_not.where), reading.why_not.value
    if spec is None:
        return Found(False, service.unit), _NO_SOCKET
    return service.is_started, ""


def _origin(service: Service, spec: Found[str]) -> Where:
    """Of a socket that a script puts into its command the line that set it, which is what one would edit."""
    variable = service.variable("socket") if service.prefix else None
    try:
        is_same = variable is not None and our_spec(variable.value) == spec.value
    except EndpointError:
        is_same = False
    return variable.where if variable is not None and is_same else spec.where


def _at_home(spec: str, platform: Platform) -> str:
    """The socket under the name that the platform has for its directory: /run on Linux, /var/run elsewhere."""
    old, new = ("/var/run/", "/run/") if platform.has_units else ("/run/", "/var/run/")
    prefix = f"unix:{old}"
    return f"unix:{new}{spec[len(prefix) :]}" if spec.startswith(prefix) else spec


def _doubles(milters: tuple[Detected, ...]) -> Iterator[Problem]:
    """Two milters that are used and listen at the same place: mail would pass one of them twice."""
    seen: dict[str, str] = {}
    for each in milters:
        if each.is_enabled.value and each.connection_spec is not None:
            other = seen.setdefault(each.connection_spec.value, each.name)
            if other != each.name:
                text = f"listens at {each.connection_spec.value}, as {other} does"
                yield Problem(each.name, each.connection_spec.where, text, "disable one of the two units")


def _bug(milter: str, where: Where, error: Exception) -> Problem:
    return Problem(milter, where, f"detection failed: {type(error).__name__}: {error}", _BUG_HINT)


def _clean(text: str) -> str:
    """Text that can be printed: other bytes than UTF-8 as escapes, control characters as one space."""
    return _UNPRINTABLE.sub(" ", text.encode("utf-8", "backslashreplace").decode("utf-8"))


def _account(name: str) -> str:
    """The name of a user or group, "" for what can't be one (a variable that nobody knows)."""
    return name if _ACCOUNT.fullmatch(name) else ""


def _short(text: str) -> str:
    text = _clean(text).strip()
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


def _clean_where(where: Where) -> Where:
    return replace(where, path=_clean(where.path))


def _printable(detected: Detected) -> Detected:
    description, spec = detected.description, detected.connection_spec
    return replace(
        detected,
        name=_clean(detected.name),
        unit=_clean_where(detected.unit),
        connection_spec=Found(spec.value, _clean_where(spec.where)) if spec is not None else None,
        is_enabled=Found(detected.is_enabled.value, _clean_where(detected.is_enabled.where)),
        description=Found(_short(description.value), _clean_where(description.where)) if description else None,
        user=_account(detected.user),
        group=_account(detected.group),
        socket_group=_account(detected.socket_group),
        why_not=_short(detected.why_not),
    )


def _printable_problem(problem: Problem) -> Problem:
    return Problem(_clean(problem.milter), _clean_where(problem.where), _short(problem.text), _short(problem.hint))
