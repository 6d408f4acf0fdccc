"""Which kinds of milters are known, and in which order they see a message. ``detection`` asks this.

The order is the incumbent's for the milters that it knew, which differs from platform to platform; the others stand
where ``docs/detection.md`` says why.
"""

from __future__ import annotations

from mmgr.detect.candidate import Candidate, Platform
from mmgr.detect.milters import (
    amavisd_milter,
    clamav_milter,
    enma,
    milter_greylist,
    milter_regex,
    mimedefang,
    openarc,
    opendkim,
    opendmarc,
    pyspf_milter,
    retired,
    rspamd,
    smf_spf,
    spamass_milter,
)

CANDIDATES: tuple[Candidate, ...] = (
    milter_greylist.CANDIDATE,
    pyspf_milter.CANDIDATE,
    smf_spf.CANDIDATE,
    enma.CANDIDATE,
    *retired.CANDIDATES,
    clamav_milter.CANDIDATE,
    opendkim.CANDIDATE,
    opendmarc.CANDIDATE,
    openarc.CANDIDATE,
    spamass_milter.CANDIDATE,
    mimedefang.CANDIDATE,
    amavisd_milter.CANDIDATE,
    rspamd.CANDIDATE,
    milter_regex.CANDIDATE,
)
"""All kinds that are known. A milter with a file in ``mmgr.detect.milters`` is added here."""

_GREYLIST = ("milter-greylist",)
_SENDER = ("spfmilter", "milter-sid", "sid-milter", "sid-filter", "pyspf-milter", "smf-spf", "smfspf")
_ENMA = ("enma", "milter-enma")
_VIRUS = ("clamav-milter",)
_DKIM = ("dk-filter", "dk-milter", "dkim-filter", "dkim-milter", "milter-dkim", "opendkim", "milter-opendkim")
_POLICY = ("opendmarc", "openarc")
_SPAM = ("spamass-milter", "spamass-milter-root")
_MIMEDEFANG = ("mimedefang",)
_AMAVIS = ("amavisd-milter", "amavisd-new-milter", "amavis-milter", "amavismilter")
_LAST = ("rspamd", "milter-regex")

_REDHAT = (*_GREYLIST, *_SENDER, *_VIRUS, *_ENMA, *_SPAM, *_MIMEDEFANG, *_AMAVIS, *_DKIM, *_POLICY, *_LAST)
_DEBIAN = (*_GREYLIST, *_SENDER, *_ENMA, *_VIRUS, *_DKIM, *_POLICY, *_SPAM, *_MIMEDEFANG, *_AMAVIS, *_LAST)
_FREEBSD = (*_GREYLIST, *_ENMA, *_SENDER, *_VIRUS, *_DKIM, *_POLICY, *_SPAM, *_MIMEDEFANG, *_AMAVIS, *_LAST)
_PKGSRC = (*_GREYLIST, *_SENDER, *_VIRUS, *_MIMEDEFANG, *_ENMA, *_DKIM, *_POLICY, *_SPAM, *_AMAVIS, *_LAST)
ORDER = {"redhat": _REDHAT, "debian": _DEBIAN, "freebsd": _FREEBSD, "pkgsrc": _PKGSRC, "linux": _REDHAT}
"""The names of units and scripts in the order of the pipeline, by family of platform."""


def plain_name(name: str) -> str:
    """A unit's name without its instance."""
    return name.partition("@")[0]


def candidate(names: tuple[str, ...]) -> Candidate | None:
    """The kind of milter that a service with these names is, the best name first; None for one that nobody knows."""
    wanted = map(plain_name, names)
    return next((each for name in wanted for each in CANDIDATES if name in each.names), None)


def place(platform: Platform, names: tuple[str, ...]) -> tuple[int, str]:
    """Where a service stands: known kinds in their order, all others behind them, equal ones by name."""
    order = ORDER[platform.family]
    known = [order.index(name) for name in map(plain_name, names) if name in order]
    return min(known, default=len(order)), names[0]
