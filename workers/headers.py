"""Headers taken apart in bulk: those that come each behind the same macros, as from Postfix. PURE."""

from __future__ import annotations

import re

from mmgr.protocol.constants import Command
from mmgr.protocol.framing import CODE, LENGTH_PREFIX, PAYLOAD

_HEADER = int(Command.SMFIC_HEADER)
_match_header = re.compile(rb"(?s)....%c[^\0]*\0[^\0]*\0" % _HEADER).fullmatch
_unpack = LENGTH_PREFIX.unpack_from


def split_headers(data: bytes) -> tuple[bytes, list[bytes], int]:
    """The headers at the beginning of data if each comes behind the same macros, as from Postfix, those macros, and
    where the headers end. The last header is left where it is; no headers if they are not like this."""
    repeated = data[: CODE + _unpack(data)[0]]
    if len(repeated) <= PAYLOAD or repeated[PAYLOAD] != _HEADER:
        return b"", [], 0
    headers = data.split(repeated)[1:-1]
    lengths = [(len(frame) - CODE,) for frame in headers]
    if not headers or not all(map(_match_header, headers)) or list(map(_unpack, headers)) != lengths:
        return b"", [], 0
    return repeated, headers, len(headers) * len(repeated) + sum(map(len, headers))
