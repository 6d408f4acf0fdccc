"""Remote Network: the milter sees sessions from outside, not those of this machine and its private networks. PURE."""

from __future__ import annotations

from collections.abc import Iterable

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.conditions.patterns import LOCAL_NETWORKS, Networks, PatternError, words


class RemoteNetwork(Condition):
    """Lets a milter take part in sessions of clients that are not local.

    What is in remote_addresses is remote whatever else says; private and loopback addresses, what is in local_addresses
    and unix sockets are local. A client without a known address is neither, and the milter is stopped.
    """

    name = "Remote Network"
    description = "the client is outside of this machine and of local networks"
    stages = frozenset((Stage.CONNECT,))

    def __init__(self, local_addresses: Iterable[str] = (), remote_addresses: Iterable[str] = ()) -> None:
        self._local = Networks(local_addresses)
        self._remote = Networks(remote_addresses)
        both = sorted(set(self._local.items) & set(self._remote.items))
        if both:
            raise PatternError(f"{both[0]!r} is in local_addresses and in remote_addresses", "decide for one of them")

    def judge(self, stage: Stage, facts: Facts) -> str:
        """Stopped for the session if the client is local."""
        address = facts.address
        if address is None:
            if facts.client_family in (b"L", b"U") and facts.client_address:
                return f"the client is local: unix socket {words(facts.client_address)}"
            return "the client's address is not known"
        if self._remote.match(address):
            return ""
        if LOCAL_NETWORKS.match(address):
            return f"client {address} is local ({LOCAL_NETWORKS.match(address)})"
        found = self._local.match(address)
        return f"client {address} is local ({found} of local_addresses)" if found else ""

    def explain(self, facts: Facts) -> str:
        """Which list says that the client is remote, or that none says that it is local."""
        address = facts.address
        found = self._remote.match(address) if address is not None else ""
        if found:
            return f"client {address} is in remote_addresses ({found})"
        return f"client {address} is not local"
