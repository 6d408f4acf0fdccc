"""rspamd: the ``rspamd_proxy`` worker with ``milter = yes``, in the merged view of all of rspamd's files.

Sources: the configuration of rspamd 3.4 and its documentation of the proxy worker; compared with what ``rspamadm
configdump`` says. That is not run here: it would be a program of the machine that is looked at, and takes most of a
second. The other workers' sockets (11333, 11334) are no milters.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, field

from mmgr.detect.base import Found, Problem, Where
from mmgr.detect.candidate import SPAM_CONDITIONS, Candidate, Platform, Reading, Service
from mmgr.detect.milters import reading
from mmgr.detect.milters.options import Options
from mmgr.detect.milters.ucl import Document, Macro, Statement, read_ucl
from mmgr.detect.milters.ucl_tree import Evaluation, Node, is_true, whole_number
from mmgr.detect.tree import Absent, Tree, Unreadable

MAX_FILES = 300
"""How many files are drawn in. rspamd's own configuration has 85, most of which are not read for a worker."""

MAX_CHARACTERS = 4194304
"""How much is read of all files together; rspamd's own, the maps left out, have 60,000 characters."""

_DEFAULT_MODE = "0644"
"""The mode of a unix socket without ``mode=`` (rspamd_parse_unix_path): enough to look at it, not to connect."""

_PROXIES = ("rspamd_proxy", "proxy")
_MODE_HINT = 'write: bind_socket = "/PATH mode=0660 owner=_rspamd group=GROUP"'


def examine(service: Service, tree: Tree, platform: Platform) -> Reading:
    """Where the first proxy worker listens that works as a milter."""
    words = reading.words_of(service, "OPTIONS", "DAEMON_OPTS")
    named = Options(words, "cugp", ("config",)).found("c", "config")
    path = named.value if named else f"{platform.configuration}/rspamd/rspamd.conf"
    files = _Files(service, tree)
    root = files.evaluated(path, _variables(words, platform))
    if root is None:
        socket = reading.assumed("localhost:11332")
        return reading.in_our_syntax(service, Reading(connection_spec=socket, problems=tuple(files.problems)))
    workers = list(_proxies(root))
    refusals = [_refusal(worker) for worker in workers]
    usable = [worker for worker, refusal in zip(workers, refusals) if refusal is None]
    if not usable:
        why_not = next(filter(None, refusals), Found("there is no worker rspamd_proxy", Where(path)))
        return Reading(why_not=why_not, problems=tuple(files.problems))
    return _listening(service, tree, usable[0], files.problems)


def _listening(service: Service, tree: Tree, worker: Node, problems: list[Problem]) -> Reading:
    """The Reading of a worker that is a milter: its first socket that can be connected to."""
    refused: list[Problem] = []
    for bound in worker.scalars("bind_socket"):
        address, parameters = _taken_apart(bound)
        if address.value.startswith("systemd:"):
            refused.append(_handed_over(service, bound))
            continue
        spec, faults = reading.spec_of(service, address)
        if spec is None:
            refused += faults
            continue
        mode = parameters.get("mode", Found(_DEFAULT_MODE, bound.where))
        closed = reading.closed_socket(service, address, mode, _MODE_HINT)
        return Reading(
            connection_spec=spec,
            socket_group=_group(service, tree, spec, parameters),
            problems=(*problems, *refused, *closed),
        )
    return Reading(problems=(*problems, *refused))


def _handed_over(service: Service, bound: Found[str]) -> Problem:
    text = f"{bound.value} is a socket that systemd hands over, so its address stands elsewhere"
    return Problem(service.name, bound.where, text, "set connection_spec of this milter in the configuration")


def _taken_apart(bound: Found[str]) -> tuple[Found[str], dict[str, Found[str]]]:
    """``/PATH mode=0660 owner=USER group=GROUP``, blanks or commas between: the address and its parameters."""
    words = bound.value.replace(",", " ").split()
    pairs = (word.partition("=") for word in words[1:])
    return Found("".join(words[:1]), bound.where), {name: Found(value, bound.where) for name, _, value in pairs}


def _group(service: Service, tree: Tree, spec: Found[str], parameters: dict[str, Found[str]]) -> str:
    if not spec.value.startswith("unix:"):
        return ""
    if "group" in parameters:
        return parameters["group"].value
    owner = parameters["owner"].value if "owner" in parameters else service.user
    return service.group or reading.group_of(tree, owner)


def _proxies(root: Node) -> Iterable[Node]:
    """The proxy workers in their order: ``worker "rspamd_proxy" {}``, and ``worker { type = "rspamd_proxy"; }``."""
    for worker in root.nodes("worker"):
        for name in _PROXIES:
            yield from worker.nodes(name)
        kind = worker.scalar("type")
        if kind is not None and kind.value in _PROXIES:
            yield worker


def _refusal(worker: Node) -> Found[str] | None:
    """Why a worker is no milter; None for one that is."""
    enabled, count, milter = worker.scalar("enabled"), worker.scalar("count"), worker.scalar("milter")
    if enabled is not None and not is_true(enabled, otherwise=True):
        return Found("the worker rspamd_proxy is switched off (enabled = false)", enabled.where)
    number = whole_number(count)
    if count is not None and number is not None and number < 1:
        return Found(f"the worker rspamd_proxy has no processes (count = {count.value})", count.where)
    if is_true(milter):
        return None
    if milter is not None:
        return Found(f"the worker rspamd_proxy is no milter (milter = {milter.value})", milter.where)
    bound = worker.scalar("bind_socket")
    return Found("the worker rspamd_proxy has no milter = yes", bound.where if bound else Where("rspamd.conf"))


def _variables(words: list[Found[str]], platform: Platform) -> dict[str, str]:
    """rspamd's own variables, and what ``--var=NAME=VALUE`` makes of them."""
    directory = f"{platform.configuration}/rspamd"
    variables = {"CONFDIR": directory, "LOCAL_CONFDIR": directory, "DBDIR": "/var/lib/rspamd"}
    variables["RUNDIR"] = "/run/rspamd"
    texts = [word.value for word in words]
    given = [following for word, following in zip(texts, texts[1:]) if word == "--var"]
    given += [text[len("--var=") :] for text in texts if text.startswith("--var=")]
    for text in given:
        name, equals, value = text.partition("=")
        if equals:
            variables[name] = value
    return variables


@dataclass
class _Files:
    """Reads rspamd's files, each once, and keeps what was wrong with them."""

    service: Service
    tree: Tree
    problems: list[Problem] = field(default_factory=list)
    _documents: dict[str, Document] = field(default_factory=dict)
    _files: int = 0
    _characters: int = 0

    def evaluated(self, path: str, variables: dict[str, str]) -> Node | None:
        """The merged view from the first file on; None where that can't be read."""
        try:
            statements = self._statements(path)
        except Unreadable as error:
            self.problems.append(reading.unreadable(self.service, error))
            return None
        return Evaluation("worker", variables, self.included).read(statements)

    def included(self, macro: Macro, target: str) -> list[Statement]:
        """The statements of the files that an include means; a fault becomes a Problem."""
        read: list[Statement] = []
        for path in self._paths(macro, target):
            self._files += 1
            if self._files > MAX_FILES:
                if self._files == MAX_FILES + 1:
                    self._note(macro.where, f"more than {MAX_FILES} files are included; does one include itself?")
                break
            try:
                read += self._statements(path)
            except Absent as error:
                if macro.name != "try_include" and not is_true(_parameter(macro, "try")):
                    self._note(macro.where, f"included: {error}")
            except Unreadable as error:
                self._note(macro.where, f"included: {error}", error.hint)
        return read

    def _paths(self, macro: Macro, target: str) -> list[str]:
        """The paths that are meant; none for addresses on the net."""
        if not target.startswith("/") or "key" in macro.parameters:
            return []
        if not is_true(_parameter(macro, "glob")):
            return [target]
        directory, _, pattern = target.rpartition("/")
        try:
            names = self.tree.names(directory or "/")
        except Unreadable:
            return []
        return [f"{directory}/{name}" for name in fnmatch.filter(names, pattern)]

    def _statements(self, path: str) -> tuple[Statement, ...]:
        if path not in self._documents:
            text = "\n".join(line.text for line in self.tree.lines(path))
            self._characters += len(text)
            if self._characters > MAX_CHARACTERS:
                raise Unreadable(path, f"is left out, the files together have more than {MAX_CHARACTERS} characters")
            document = self._documents[path] = read_ucl(text, path)
            for fault in document.faults:
                self._note(fault.where, fault.value, "rspamd does not start with it; see: rspamadm configtest")
        return self._documents[path].statements

    def _note(self, where: Where, text: str, hint: str = "") -> None:
        self.problems.append(Problem(self.service.name, where, text, hint))


def _parameter(macro: Macro, name: str) -> Found[str] | None:
    value = macro.parameters.get(name)
    return Found(value, macro.where) if value is not None else None


CANDIDATE = Candidate(("rspamd",), examine, SPAM_CONDITIONS)
