"""A name server that knows no name, on 127.0.0.1:53: where there is no DNS, daemons that ask get an answer at once.

Run as a service of type notify; answers NXDOMAIN to everything until it is ended.
"""

from __future__ import annotations

import os
import socket
import struct

_HEADER = struct.Struct("!HHHHHH")
_NXDOMAIN = 0x8183  # a response, recursion desired and available, no such name


def answer(query: bytes) -> bytes:
    """The reply to one query (RFC 1035, section 4): its header and its first question, nothing else."""
    number = _HEADER.unpack_from(query)[0]
    end = _HEADER.size
    while query[end]:  # the labels of the name; a name in a question is not compressed
        end += 1 + query[end]
    question = query[_HEADER.size : end + 5]  # the empty label, type, class
    return _HEADER.pack(number, _NXDOMAIN, 1, 0, 0, 0) + question


def main() -> None:
    """Answers for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as port:
        port.bind(("127.0.0.1", 53))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
        while True:
            query, asker = port.recvfrom(4096)
            port.sendto(answer(query), asker)


if __name__ == "__main__":
    main()
