"""Postfix's files as text, and what the doctor says about them."""

from __future__ import annotations

from collections.abc import Sequence

from mmgr.conditions.sendmail_compatible import SendmailCompatible
from mmgr.conditions.unauthenticated import Unauthenticated
from mmgr.config.model import ChildSettings, Config, ManagerSettings
from mmgr.doctor import postfix, postfix_settings
from mmgr.doctor.findings import Finding
from mmgr.doctor.maincf import parse_main, parse_master
from mmgr.doctor.postfix import PostfixFiles, Reach
from mmgr.endpoint import parse_endpoint

OURS = "unix:/run/milter-manager/milter-manager.sock"
MASTER = "smtp inet n - n - - smtpd\ncleanup unix n - n - 0 cleanup\n"
CONDITIONS = (SendmailCompatible(), Unauthenticated())


def files(main: str, master: str = MASTER) -> PostfixFiles:
    return PostfixFiles(parse_main(main.split("\n")), tuple(parse_master(master.split("\n"))))


def child(name: str, spec: str = "unix:/run/c.sock", conditions: Sequence[str] = (), **more: float) -> ChildSettings:
    return ChildSettings(name, (parse_endpoint(spec),), applicable_conditions=tuple(conditions), **more)  # type: ignore[arg-type]


def config(*children: ChildSettings, spec: str = OURS) -> Config:
    manager = ManagerSettings(connection_spec=(parse_endpoint(spec),))
    return Config(manager=manager, children=children, compiled={made.name: made for made in CONDITIONS})


def judged(main: str, master: str = MASTER, given: Config | None = None) -> tuple[list[Finding], list[Reach]]:
    return postfix.judge(files(main, master), given or config())


def bad(main: str, master: str = MASTER, given: Config | None = None) -> list[tuple[str, str, str]]:
    """Level, text and hint of all that is a warning or an error."""
    found, _ = judged(main, master, given)
    return [(one.level, one.text, one.hint) for one in found if one.level in ("warning", "error")]


def settings(main: str, *children: ChildSettings, master: str = MASTER) -> list[Finding]:
    given = config(*children)
    read = files(main, master)
    return list(postfix_settings.judge(read, given, postfix.judge(read, given)[1]))
