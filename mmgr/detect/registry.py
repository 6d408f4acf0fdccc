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

_FIRST = ("milter-greylist", "milter-regex", "spfmilter", "milter-sid", "pyspf-milter", "smf-spf")
_REDHAT = (
    *("milter-greylist", "spfmilter", "milter-sid", "pyspf-milter", "smf-spf"),
    *("clamav-milter", "enma", "spamass-milter", "spamass-milter-root", "mimedefang", "amavisd-milter"),
    *("dkim-milter", "opendkim", "opendmarc", "openarc", "rspamd", "milter-regex"),
)
_DEBIAN = (
    *("milter-greylist", "spfmilter", "milter-sid", "pyspf-milter", "smf-spf", "enma"),
    *("clamav-milter", "dkim-filter", "opendkim", "opendmarc", "openarc"),
    *("spamass-milter", "mimedefang", "amavisd-new-milter", "amavisd-milter", "rspamd", "milter-regex"),
)
_FREEBSD = (
    *("milter-greylist", "spfmilter", "pyspf-milter", "smf-spf", "milter-enma", "enma", "milter-sid"),
    *("clamav-milter", "milter-dkim", "milter-opendkim", "opendkim", "opendmarc", "openarc"),
    *("spamass-milter", "mimedefang", "amavis-milter", "amavisd-milter", "rspamd", "milter-regex"),
)
_PKGSRC = (
    *("milter-greylist", "spfmilter", "milter-sid", "pyspf-milter", "smf-spf", "clamav-milter", "mimedefang", "enma"),
    *("dk-milter", "dkim-filter", "opendkim", "opendmarc", "openarc"),
    *("spamass-milter", "amavismilter", "amavisd-milter", "rspamd", "milter-regex"),
)
ORDER = {"redhat": _REDHAT, "debian": _DEBIAN, "freebsd": _FREEBSD, "pkgsrc": _PKGSRC, "linux": _REDHAT}
"""The names of units and scripts in the order of the pipeline, by family of platform."""


def plain_name(name: str) -> str:
    """A unit's name without its instance."""
    return name.partition("@")[0]


def candidate(names: tuple[str, ...], script: str = "") -> Candidate | None:
    """The kind of milter that a unit with these names is, the best name first; None for one that nobody knows."""
    wanted = [plain_name(name) for name in (*names, script) if name]
    return next((each for name in wanted for each in CANDIDATES if name in each.names), None)


def place(platform: Platform, names: tuple[str, ...]) -> tuple[int, int, str]:
    """Where a milter stands: what the order names, then other known kinds, then all others by name."""
    order = ORDER.get(platform.family, _REDHAT)
    known = [order.index(plain_name(name)) for name in names if plain_name(name) in order]
    if known:
        return 0, min(known), names[0]
    return (1 if candidate(names) is not None else 2), 0, names[0]
