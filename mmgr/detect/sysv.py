"""Start scripts in /etc/init.d where no unit of the same name exists: what they set, and whether links start them.

Sources: chkconfig(8), the LSB's comment block in init scripts, systemd-sysv-generator(8) for what systemd makes of
both. ``detection`` calls this.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmgr.detect.base import Found, Where
from mmgr.detect.candidate import Platform, Service
from mmgr.detect.shell import Shell
from mmgr.detect.tree import Line, Tree, Unreadable

_SETTINGS = {"redhat": ("/etc/sysconfig",), "debian": ("/etc/default",)}
_ALL_SETTINGS = ("/etc/sysconfig", "/etc/default")
_RUN_LEVELS = ("/etc/rc{}.d", "/etc/rc.d/rc{}.d")
_OFF = ("0", "no", "false")
_NOT_STARTED = "disabled: no link in /etc/rc3.d or another run level starts it"
_LSB = re.compile(r"#\s*(?:Short-)?Description:\s*(\S.*)", re.IGNORECASE)
_CHKCONFIG = re.compile(r"#\s*description:\s*(\S.*)")
_END_OF_LSB = "### END INIT INFO"


def names(tree: Tree, platform: Platform) -> tuple[str, ...]:
    """The scripts of a tree; () where there are none."""
    try:
        return tuple(name for name in tree.names(platform.scripts) if _is_script(tree, f"{platform.scripts}/{name}"))
    except Unreadable:
        return ()


def _is_script(tree: Tree, path: str) -> bool:
    return tree.is_file(path) and not path.endswith((".dpkg-old", ".dpkg-dist", ".rpmsave", ".rpmnew", "~", "/README"))


def service(tree: Tree, platform: Platform, name: str, mask: str = "") -> Service:
    """What a script starts; raises Absent or Unreadable. mask is the link that keeps systemd from starting it, or "".

    Its settings file is read where the script reads it, behind the script if it seems not to.
    """
    path = f"{platform.scripts}/{name}"
    lines = tree.lines(path)
    shell = Shell(tree)
    shell.read(path)
    for directory in _SETTINGS.get(platform.family, _ALL_SETTINGS):
        if f"{directory}/{name}" not in shell.files:
            shell.read(f"{directory}/{name}")
    is_started, why_not = _start(tree, name, shell, mask)
    return Service(
        name=name,
        unit=Where(path),
        is_started=is_started,
        why_not=why_not,
        description=description(lines),
        environment=shell.variables,
        problems=tuple(shell.problems),
    )


def description(lines: Iterable[Line]) -> Found[str] | None:
    """What a script says of itself: the LSB's short description, else chkconfig's, else the LSB's long one."""
    found: dict[str, Found[str]] = {}
    kind = "lsb"
    for line in lines:
        if line.text.startswith(_END_OF_LSB):
            kind = "chkconfig"
        is_short = "short-description" in line.text.lower()
        match = _LSB.match(line.text) or _CHKCONFIG.match(line.text)
        if match:
            found.setdefault("short" if is_short else kind, Found(match.group(1).rstrip(" \\"), line.where))
    return found.get("short") or found.get("chkconfig") or found.get("lsb")


def _start(tree: Tree, name: str, shell: Shell, mask: str) -> tuple[Found[bool], str]:
    if mask:
        return Found(False, Where(mask)), f"masked by {mask}"
    switch = shell.variables.get("ENABLED")
    if switch is not None and switch.value.lower() in _OFF:
        return Found(False, switch.where), f"disabled: ENABLED={switch.value}"
    link = _start_link(tree, name)
    if not link:
        return Found(False, Where(shell.files[0] if shell.files else name)), _NOT_STARTED
    return Found(True, Where(link)), ""


def _start_link(tree: Tree, name: str) -> str:
    """The link that starts a script in run level 2 to 5, "" if there is none. A link with K stops it."""
    pattern = re.compile(rf"S\d\d{re.escape(name)}")
    for level in "3524":
        for form in _RUN_LEVELS:
            directory = form.format(level)
            found = next((each for each in _names(tree, directory) if pattern.fullmatch(each)), "")
            if found:
                return f"{directory}/{found}"
    return ""


def _names(tree: Tree, directory: str) -> tuple[str, ...]:
    try:
        return tree.names(directory)
    except Unreadable:
        return ()
