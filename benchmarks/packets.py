"""Packets per second of our codec, and of the other codecs for milter packets in pure Python that PyPI has.

What is decoded is one session as Postfix sends it, in one read: 10 KB, 20 headers, macros included. Each codec runs in
a process of its own, in turns. The others are installed into a temporary directory by pip; one that can't be is left
out with the reason. What each does beyond splitting and decoding is its own way of being used (``CODECS``).

``python -m benchmarks.packets NAME`` prints the packets per second of one codec: that is the process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, Callable, NamedTuple

from benchmarks import mails
from mmgr.protocol.commands import decode_command
from mmgr.protocol.constants import COMMAND_LENGTH_MAX
from mmgr.protocol.framing import FrameBuffer
from tests.support.daemon import CHECKOUT

OURS = "milter-manager"
MEASURE_S = 0.3
INSTALL_TIMEOUT_S = 120

Say = Callable[[str], None]
Decode = Callable[[], int]


class Codec(NamedTuple):
    """A codec under test. requirement is what pip installs, "" for ours; note is what is timed of it.

    make takes the bytes of a session and gives a function that decodes them once and says how many packets there were.
    """

    requirement: str
    note: str
    make: Callable[[bytes], Decode]


def _ours(data: bytes) -> Decode:
    def decode() -> int:
        return len([decode_command(frame) for frame in FrameBuffer(COMMAND_LENGTH_MAX).feed(data)])

    return decode


def _kilter(data: bytes) -> Decode:
    from kilter.protocol.buffer import SimpleBuffer
    from kilter.protocol.exceptions import NeedsMore
    from kilter.protocol.messages import Message

    def decode() -> int:
        buffer = SimpleBuffer(65536)
        buffer[:] = data
        count = 0
        while True:
            try:
                message, size = Message.unpack(buffer)
            except NeedsMore:
                return count
            message.release()
            del buffer[:size]
            count += 1

    return decode


def _purepythonmilter(data: bytes) -> Decode:
    from purepythonmilter.api.models import MilterServerConnectionID, connection_id_context
    from purepythonmilter.protocol.packet import PacketDecoder
    from purepythonmilter.protocol.payload import PayloadDecoder

    identity = MilterServerConnectionID.generate()
    connection_id_context.set(identity)

    def decode() -> int:
        packets = PacketDecoder(connection_id=identity)
        payloads = PayloadDecoder(connection_id=identity)
        count = 0
        for payload in packets.decode(packet=data):
            command, raw = payloads.decode(payload=payload)
            command(data_raw=raw)
            count += 1
        return count

    return decode


def _python_libmilter(data: bytes) -> Decode:
    import libmilter

    class Sink:
        """Takes the replies, and knows none of a socket but that."""

        def sendall(self, reply: bytes) -> None:
            """Forgets it."""

        def close(self) -> None:
            """Nothing to close."""

    packets = _ours(data)()

    def decode() -> int:
        protocol = libmilter.MilterProtocol()
        protocol.transport = Sink()
        protocol.dataReceived(data)
        return packets

    return decode


CODECS: Mapping[str, Codec] = {
    OURS: Codec("", "frames, then one record per packet", _ours),
    "kilter.protocol": Codec("kilter.protocol==0.6.0", "buffer, one record per packet, no check of order", _kilter),
    "purepythonmilter": Codec("purepythonmilter==0.0.1", "packets, payloads, one record each", _purepythonmilter),
    "python-libmilter": Codec("python-libmilter==2.0.0", "packets, empty callbacks and replies", _python_libmilter),
}


class Speed(NamedTuple):
    """A codec's packets per second, one figure per round; or the reason why there is none."""

    name: str
    note: str
    packets_per_s: list[float]
    reason: str = ""


def session_bytes() -> bytes:
    """The session that is decoded."""
    return b"".join(mails.as_frames(mails.whole_session()))


def compare(rounds: int, may_install: bool, say: Say) -> list[Speed]:
    """All codecs in turns; the others are left out, with the reason, if pip must not or can't install them."""
    with tempfile.TemporaryDirectory(prefix="mmgr-bench-") as directory:
        reasons = {name: _install(codec, directory, may_install) for name, codec in CODECS.items()}
        speeds = {name: Speed(name, codec.note, [], reasons[name]) for name, codec in CODECS.items()}
        for _ in range(rounds):
            for name, speed in speeds.items():
                if not speeds[name].reason:
                    speeds[name] = _with_one_more(speed, directory)
    for speed in speeds.values():
        middle = sorted(speed.packets_per_s)[len(speed.packets_per_s) // 2] if speed.packets_per_s else 0
        say(f"{speed.name}: " + (speed.reason or f"{middle:,.0f} packets per second"))
    return list(speeds.values())


def _install(codec: Codec, directory: str, may_install: bool) -> str:
    """The reason why this codec can't be measured, "" if it can."""
    if not codec.requirement:
        return ""
    if not may_install:
        return "not installed: told not to"
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--target", directory]
    try:
        done = subprocess.run(
            [*command, codec.requirement], capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"pip did not install it within {INSTALL_TIMEOUT_S} s"
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return f"pip can't install it: {errors[-1] if errors else done.stderr[-200:]}"
    return ""


def _with_one_more(speed: Speed, directory: str) -> Speed:
    path = os.pathsep.join(filter(None, [str(CHECKOUT), directory, os.environ.get("PYTHONPATH", "")]))
    command = [sys.executable, "-m", "benchmarks.packets", speed.name]
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT, env=env)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no word"
        return speed._replace(reason=f"it can't decode our session: {last}")
    return speed._replace(packets_per_s=[*speed.packets_per_s, float(done.stdout)])


def packets_per_s(decode: Decode) -> float:
    """Decodes again and again for MEASURE_S; the first time does not count."""
    decode()
    packets, started = 0, time.perf_counter()
    while time.perf_counter() - started < MEASURE_S:
        packets += decode()
    return packets / (time.perf_counter() - started)


def main(argv: list[str]) -> None:
    """The process of one codec."""
    make: Any = CODECS[argv[1]].make
    sys.stdout.write(f"{packets_per_s(make(session_bytes()))}\n")


if __name__ == "__main__":
    main(sys.argv)
