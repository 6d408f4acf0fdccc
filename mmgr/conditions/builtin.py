"""The conditions that are there without any configuration, by name. PURE; the configuration's loader makes them.

Each factory takes its knobs as keyword arguments and can be called without any. A knob that can't be meant raises
``PatternError``. Restrict Accounts is a kind of condition: whoever configures one names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Callable

from mmgr.conditions.authenticated import Authenticated
from mmgr.conditions.base import Condition
from mmgr.conditions.dnsbl import DnsblListed, NotDnsblListed
from mmgr.conditions.no_stress import NoStress
from mmgr.conditions.remote_network import RemoteNetwork
from mmgr.conditions.restrict_accounts import RestrictAccounts
from mmgr.conditions.s25r import S25R
from mmgr.conditions.sendmail_compatible import SendmailCompatible
from mmgr.conditions.stress_notify import StressNotify
from mmgr.conditions.trust import Trust
from mmgr.conditions.unauthenticated import Unauthenticated

BUILT_IN: Mapping[str, Callable[..., Condition]] = {
    made.name: made
    for made in (
        Authenticated,
        Unauthenticated,
        DnsblListed,
        NotDnsblListed,
        RemoteNetwork,
        S25R,
        SendmailCompatible,
        StressNotify,
        NoStress,
        Trust,
    )
}

__all__ = ["BUILT_IN", "RestrictAccounts"]
