"""What the requests of the control socket mean, and who may make which. No socket is known here.

What is read often is made once and shared: answers are at most ``FRESH_S`` old, so a crowd that asks for the status in
turns costs the master no more than one who does.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mmgr import __version__
from mmgr.control import cut, decode, done, not_done
from mmgr.errors import ControlError
from mmgr.log import quoted
from mmgr.master.overrides import Change, Override
from mmgr.master.results import OnResult, ReloadResult

log = logging.getLogger(__name__)

FRESH_S = 0.2
"""How old an answer to a question may be."""

OnAnswer = Callable[[bytes], None]


class Instance(Protocol):
    """What the desk asks of the ``Supervisor``."""

    def snapshot(self) -> dict[str, Any]:
        """The state of the instance."""

    def milters(self) -> list[dict[str, Any]]:
        """What is known of each child."""

    def metrics(self) -> dict[str, Any]:
        """What is counted and measured."""

    def request_reload(self, on_result: OnResult) -> None:
        """Read the configuration anew."""

    def request_change(self, change: Change, on_result: OnResult) -> None:
        """Treat a child in another way from now on."""

    def close_breaker(self, child: str) -> None:
        """Let sessions use a child again that failed in many of them; nothing if none did, or there is no such."""

    def stop(self) -> None:
        """End after the sessions that run."""


@dataclass(frozen=True)
class Asker:
    """Who asks: by which socket, and of a unix socket which user (-1: not known)."""

    is_read_only: bool
    uid: int = -1
    pid: int = -1


class Desk:
    """Answers requests about one instance."""

    def __init__(self, instance: Instance, clock: Callable[[], float] = time.monotonic) -> None:
        self._instance = instance
        self._clock = clock
        self._since = clock()
        self._seen: dict[str, tuple[float, bytes]] = {}

    def take(self, line: bytes, asker: Asker, on_answer: OnAnswer) -> None:
        """One request; on_answer is called once, now or when it is through. Never raises."""
        try:
            self._take(decode(line.rstrip(b"\r")), asker, on_answer)
        except ControlError as error:
            on_answer(not_done([str(error)]))
        except Exception:
            log.exception("control-fault request=%s", quoted(line.decode("utf-8", "replace")))
            on_answer(not_done(["a bug of this program; its log has the traceback"]))

    def _take(self, message: Mapping[str, Any], asker: Asker, on_answer: OnAnswer) -> None:
        name = message.get("request")
        if isinstance(name, str) and name in _QUESTIONS:
            on_answer(self._answer_to(name))
            return
        if not isinstance(name, str) or name not in _ORDERS:
            names = ", ".join([*_QUESTIONS, *_ORDERS])
            raise ControlError(f"there is no request {str(name)[:40]!a}; there are {names}")
        if asker.is_read_only:
            raise ControlError(f"{name} is not taken on this socket, which is for reading alone")
        child = _child_of(message) if name in _ABOUT_A_CHILD else ""
        log.info("control-request request=%s child=%s uid=%d pid=%d", name, quoted(child), asker.uid, asker.pid)
        _ORDERS[name](self, name, child, on_answer)

    # ---- questions

    def _answer_to(self, name: str) -> bytes:
        now = self._clock()
        made, answer = self._seen.get(name, (0.0, b""))
        if not answer or now - made > FRESH_S:
            answer = done({**_QUESTIONS[name](self), "monotonic_s": now})
            self._seen[name] = (now, answer)
        return answer

    def _status(self) -> dict[str, Any]:
        found = self._instance.snapshot()
        del found["workers"]
        if found["last_reload"]:
            found["last_reload"] = _as_result(found["last_reload"])
        about = {"program_version": __version__, "pid": os.getpid(), "uptime_s": self._clock() - self._since}
        return {**about, **found}

    def _workers(self) -> dict[str, Any]:
        return {"workers": self._instance.snapshot()["workers"]}

    def _milters(self) -> dict[str, Any]:
        return {"milters": self._instance.milters()}

    def _metrics(self) -> dict[str, Any]:
        return self._instance.metrics()

    # ---- orders

    def _reload(self, _name: str, _child: str, on_answer: OnAnswer) -> None:
        self._instance.request_reload(lambda result: self._tell(result, on_answer))

    def _override(self, name: str, child: str, on_answer: OnAnswer) -> None:
        self._change(Change(child, Override(name)), on_answer)

    def _reset(self, _name: str, child: str, on_answer: OnAnswer) -> None:
        """Whatever made us treat the child in another way than configured ends, be it people's word or its failures."""
        self._instance.close_breaker(child)
        self._change(Change(child, None), on_answer)

    def _change(self, change: Change, on_answer: OnAnswer) -> None:
        self._instance.request_change(change, lambda result: self._tell(result, on_answer))

    def _stop(self, _name: str, _child: str, on_answer: OnAnswer) -> None:
        self._seen.clear()
        self._instance.stop()
        on_answer(done({"is_stopping": True}))

    def _tell(self, result: ReloadResult, on_answer: OnAnswer) -> None:
        """Whoever is told of a change and asks then shall see it."""
        self._seen.clear()
        on_answer(done({"generation": result.generation}) if result.is_done else not_done(result.errors))


def _as_result(last: Mapping[str, Any]) -> dict[str, Any]:
    return {**last, "errors": cut(last["errors"])}


def _child_of(message: Mapping[str, Any]) -> str:
    child = message.get("milter")
    if not isinstance(child, str) or not child:
        raise ControlError(f"{message['request']} needs the name of a milter")
    return child


_QUESTIONS: dict[str, Callable[[Desk], dict[str, Any]]] = {
    "status": Desk._status,
    "workers": Desk._workers,
    "milters": Desk._milters,
    "metrics": Desk._metrics,
}
"""What changes nothing, and is answered on both sockets."""

_ORDERS: dict[str, Callable[[Desk, str, str, OnAnswer], None]] = {
    "reload": Desk._reload,
    "stop": Desk._stop,
    "enable": Desk._override,
    "disable": Desk._override,
    "evaluate": Desk._override,
    "reset": Desk._reset,
}
"""What takes the administrative socket."""

_ABOUT_A_CHILD = frozenset(("enable", "disable", "evaluate", "reset"))
