"""What a peer is that does not answer a negotiation as a milter does, by the first bytes that it sent. PURE.

The bytes are hostile: they are cut and escaped before they are shown. ``looks_like`` of the framing knows the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mmgr.config.values import one_line
from mmgr.protocol.framing import looks_like

SHOWN_BYTES = 60

_HTTP_HINT = "# for rspamd the milter is the proxy worker, usually inet:11332@localhost, with milter = yes"
_SMTP_HINT = "# an SMTP service, such as amavisd on port 10024: its milter has a socket of its own (amavisd-milter)"
_CLAMD_HINT = "# the milter is clamav-milter: take MilterSocket of its clamav-milter.conf, not ClamdSocket"
_SPAMD_HINT = "# the milter is spamass-milter: take SOCKET of its settings"
_POLICY_HINT = "# a policy service belongs into smtpd_recipient_restrictions = check_policy_service, not here"
_TLS_HINT = "# milters speak without TLS; give the address of the plain socket"


@dataclass(frozen=True)
class Foreign:
    """A peer of another kind: what it is, and what to write instead ("" where nobody knows)."""

    what: str
    hint: str = ""


_BANNERS = (
    (rb"220[ -].*LMTP", Foreign("an LMTP service", _SMTP_HINT)),
    (rb"(220|421|554)[ -]", Foreign("an SMTP service", _SMTP_HINT)),
    (rb"HTTP/[0-9]", Foreign("an HTTP service, such as rspamd's other workers", _HTTP_HINT)),
    (rb"<(!DOCTYPE|html)", Foreign("an HTTP service", _HTTP_HINT)),
    (rb"UNKNOWN COMMAND|COMMAND READ TIMED OUT", Foreign("clamd", _CLAMD_HINT)),
    (rb"SPAMD/", Foreign("spamd", _SPAMD_HINT)),
    (rb"[\x14-\x17]\x03[\x00-\x04]", Foreign("a TLS service", _TLS_HINT)),
    (rb"SSH-", Foreign("an SSH service")),
    (rb"action=", Foreign("a policy service of Postfix", _POLICY_HINT)),
    (rb"-ERR|-DENIED|-NOAUTH", Foreign("Redis or a POP3 service")),
    (rb"\+OK", Foreign("a POP3 service")),
    (rb"\* (OK|BYE|PREAUTH)", Foreign("an IMAP service")),
    (rb"VERSION\t", Foreign("a service of Dovecot")),
    (rb"error: ", Foreign("MIMEDefang's multiplexor", "# take SOCKET, not MX_SOCKET, of MIMEDefang's settings")),
    (rb"[0-9]+:(OK|NOTFOUND|TEMP|PERM|TIMEOUT) ?.*,", Foreign("a socketmap service, such as postsrsd")),
    (rb"[45]00 |200 ", Foreign("a table or mail service that answers with numbers")),
    (rb"ERROR\r?\n", Foreign("memcached")),
    (rb".\x00\x00\x00\x0a[0-9]", Foreign("MySQL")),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL), foreign) for pattern, foreign in _BANNERS)


def classify(data: bytes) -> Foreign:
    """What a peer is that sent these bytes (at least one) after a negotiation was put to it."""
    for pattern, foreign in _COMPILED:
        if pattern.match(data[:512]):
            return foreign
    kind = looks_like(data)
    return Foreign(f"a service whose answer looks like {kind}")


def excerpt(data: bytes) -> str:
    """The beginning of what a peer sent, in one line that steers no terminal."""
    first = data[:SHOWN_BYTES].split(b"\n")[0].rstrip(b"\r")
    return one_line(first.decode("latin-1"))
