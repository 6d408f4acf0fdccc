"""What kind of system a tree is, and where that kind keeps its things. ``detection`` asks first of all.

Source: os-release(5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from mmgr.detect.candidate import Platform
from mmgr.detect.tree import Tree, Unreadable
from mmgr.detect.unitfile import environment_file

_REDHAT = ("rhel", "centos", "fedora", "rocky", "almalinux", "ol", "redhat", "amzn")
_DEBIAN = ("debian", "ubuntu")
_RELEASES = ("/etc/os-release", "/usr/lib/os-release")
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_UNITS = ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
_PKGSRC = "/usr/pkg/etc"


def identify(tree: Tree, name: str = "", options: Mapping[str, str] | None = None) -> Platform:
    """The platform of a tree; name, if any, is what the configuration says that it is. Never raises.

    options are those of ``[package]``: ``prefix`` and ``rcddir`` say where pkgsrc has its configuration and scripts.
    """
    options = options or {}
    if name:
        return _named(tree, name, options)
    if options.get("prefix") or options.get("rcddir"):
        return _pkgsrc(tree, "pkgsrc", options)
    if tree.exists("/etc/rc.conf") and tree.exists("/usr/local/etc/rc.d") and not any(map(tree.exists, _UNITS)):
        return _freebsd("freebsd")
    release = _release(tree)
    if release.get("ID") == "netbsd":
        return _pkgsrc(tree, "pkgsrc", options)
    return _linux(tree, release)


def _named(tree: Tree, name: str, options: Mapping[str, str]) -> Platform:
    plain = name.lower().rstrip("0123456789.-")
    if plain in ("pkgsrc", "netbsd"):
        return _pkgsrc(tree, name, options)
    if plain == "freebsd":
        return _freebsd(name)
    return _with_scripts(tree, name, _family([plain]))


def _freebsd(name: str) -> Platform:
    return Platform(name, "freebsd", "/usr/local/etc", "/usr/local/etc/rc.d")


def _pkgsrc(tree: Tree, name: str, options: Mapping[str, str]) -> Platform:
    prefix = options.get("prefix", _PKGSRC).rstrip("/")
    if not prefix.endswith("/etc") and tree.exists(f"{prefix}/etc"):
        prefix += "/etc"
    scripts = options.get("rcddir", "").rstrip("/")
    if not scripts:
        scripts = f"{prefix}/rc.d" if tree.exists(f"{prefix}/rc.d") else "/etc/rc.d"
    return Platform(name, "pkgsrc", prefix, scripts)


def _linux(tree: Tree, release: Mapping[str, str]) -> Platform:
    family = _family([release.get("ID", ""), *release.get("ID_LIKE", "").split()])
    if not release:
        family = _family_of_old_files(tree)
    return _with_scripts(tree, _name(family, release), family)


def _name(family: str, release: Mapping[str, str]) -> str:
    """The incumbent's names: "redhat8" for every EL 8, "debian"; for others the system's own."""
    own = release.get("ID", "")
    if family == "redhat" and own != "fedora":
        return "redhat" + release.get("VERSION_ID", "").partition(".")[0]
    return own or family


def _with_scripts(tree: Tree, name: str, family: str) -> Platform:
    old = not tree.exists("/etc/init.d") and tree.exists("/etc/rc.d/init.d")
    return Platform(name, family, "/etc", "/etc/rc.d/init.d" if old else "/etc/init.d")


def _family(names: list[str]) -> str:
    for name in names:
        if name in _REDHAT:
            return "redhat"
        if name in _DEBIAN:
            return "debian"
    return "linux"


def _family_of_old_files(tree: Tree) -> str:
    if tree.exists("/etc/redhat-release"):
        return "redhat"
    return "debian" if tree.exists("/etc/debian_version") else "linux"


def _release(tree: Tree) -> dict[str, str]:
    """The variables of os-release that are plain words; {} without such a file."""
    for path in _RELEASES:
        try:
            found = environment_file(tree.lines(path))
        except Unreadable:
            continue
        plain = {key: value.value.lower() for key, value in found.items()}
        return {key: value for key, value in plain.items() if all(map(_NAME.fullmatch, value.split()))}
    return {}
