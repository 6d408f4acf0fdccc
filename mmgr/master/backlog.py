"""How many connections wait in a listening socket's queue, from the kernel: nobody has accepted them yet.

For TCP that is a socket option; for unix sockets the kernel tells by netlink alone (sock_diag(7), unix_diag), at once
and to everybody. Linux only.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Union

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_NLM_F_REQUEST = 1
_UDIAG_SHOW_RQLEN, _UNIX_DIAG_RQLEN = 0x10, 4
_ANY = 0xFFFFFFFF
_HEAD = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBHIIIII")
"""struct unix_diag_req: family, protocol, padding, states, inode, what to show, a cookie that matches all."""
_ANSWER_BYTES = _HEAD.size + 16
"""struct nlmsghdr and struct unix_diag_msg; attributes follow."""
_ATTRIBUTE = struct.Struct("=HH")
_QUEUE = struct.Struct("=II")
_TCP_INFO_BYTES = 32
_TCP_UNACKED = struct.Struct("=I")
_TCP_UNACKED_AT = 24
"""``tcpi_unacked``: of a listening socket the connections that wait (tcp_get_info)."""
_PATIENCE_S = 0.05

Waiting = Union[int, None]


def waiting(listening: socket.socket) -> Waiting:
    """Connections that wait to be accepted; None where the kernel does not tell. Does not wait for anybody."""
    try:
        if listening.family == socket.AF_UNIX:
            return _of_unix(os.fstat(listening.fileno()).st_ino)
        data = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
        return int(_TCP_UNACKED.unpack_from(data, _TCP_UNACKED_AT)[0])
    except (OSError, struct.error):
        return None


def _of_unix(inode: int) -> Waiting:
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, _ANY, inode & _ANY, _UDIAG_SHOW_RQLEN, _ANY, _ANY)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE_S)
        kernel.send(_HEAD.pack(_HEAD.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
        return queue_of(kernel.recv(4096))


def queue_of(answer: bytes) -> Waiting:
    """The length of the queue in the kernel's answer; None if that is an error, or lacks it. Raises struct.error."""
    if _HEAD.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    at = _ANSWER_BYTES
    while at + _ATTRIBUTE.size <= len(answer):
        length, kind = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _UNIX_DIAG_RQLEN:
            return int(_QUEUE.unpack_from(answer, at + _ATTRIBUTE.size)[0])
        at += max(_ATTRIBUTE.size, -(-length // 4) * 4)
    return None
