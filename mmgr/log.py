"""Logging: one event, one line of ``event-name key=value ...``, to the system's log and to standard error or a file.

The system's log is the journal of systemd (``mmgr.journal``) where it listens, and syslog otherwise. A file may have
each line as JSON (``mmgr.logline``). Every event at info and above stands in docs/log-catalogue.md. Nothing is logged
at import or in a signal handler. A log that can't be written never stops mail (``mmgr.logsinks`` for pipes that nobody
reads): what goes wrong with syslog is told once on the other sink.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import socket
import sys
import time
from collections.abc import Hashable
from typing import IO, Any

from mmgr import journal
from mmgr.config.model import LogSettings
from mmgr.journal import NOTICE, JournalSink
from mmgr.logline import as_json
from mmgr.logsinks import PatientStream, close_quietly, is_patience_needed, open_log

IDENT = "milter-manager"
"""The name at the head of every syslog line."""

SYSLOG_SOCKET = "/dev/log"
JOURNAL_DIRECTORY = "/run/systemd/journal/"
"""A syslog socket that is a link into this is the journal's, too."""

SYSLOG_PATIENCE_S = 0.5
"""How long a line may wait for a syslog daemon that does not read; then it is lost."""

SYSLOG_PAUSE_S = 30.0
"""How long further lines are lost at once after one waited in vain: a hung syslog daemon must not slow down mail."""

REPEAT_S = 60.0
"""Warnings of one cause come at most this often; the next one says how many were held back."""

LOOK_AGAIN_S = 1.0
"""How often a busy process looks whether its log file is still the one at the path."""

CAUSES_MAX = 1000
"""Causes may hold a peer's bytes, so their number is bounded."""

STATISTICS = "statistics"
"""The logger of the lines of milter manager 2 (``workers.sessionstatistics``): at any level, or not at all."""

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}

log = logging.getLogger(__name__)


class SyslogHandler(logging.handlers.SysLogHandler):
    """SysLogHandler that never blocks for long and never prints a traceback about itself."""

    socket: socket.socket
    _paused_until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; a syslog daemon that hangs or is gone costs the line, not the session."""
        if time.monotonic() >= self._paused_until:
            super().emit(record)

    def write_info(self, text: str) -> bool:
        """One line without a record; False if it has to go the long way."""
        if time.monotonic() < self._paused_until:
            return True
        priority = self.encodePriority(self.facility, "info")
        try:
            self.socket.send(f"<{priority}>{IDENT}[{os.getpid()}]: {text}".encode())
        except (OSError, AttributeError):
            return False  # as before the first line, or after the daemon was started anew
        return True

    def mapPriority(self, levelName: str) -> str:
        """Also of the level that logging does not know."""
        return "notice" if levelName == "NOTICE" else super().mapPriority(levelName)

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the line: the other sink has it. A daemon that hangs is not tried again for a while."""
        if isinstance(sys.exc_info()[1], (TimeoutError, socket.timeout)):
            self._paused_until = time.monotonic() + SYSLOG_PAUSE_S

    def _connect_unixsocket(self, address: str) -> None:
        """Also called by ``SysLogHandler.emit`` itself after a failed send, so the new socket has to be patient too."""
        super()._connect_unixsocket(address)  # type: ignore[misc]
        self.socket.settimeout(SYSLOG_PATIENCE_S)


class _Stamped(logging.StreamHandler):  # type: ignore[type-arg]
    """Lines with the time ahead of them, as ``_StderrFormatter`` makes them."""

    _second = 0
    _stamp = ""

    def write_info(self, text: str) -> bool:
        """One line without a record; False if it has to go the long way."""
        now = time.time()
        second = int(now)
        if second != self._second:
            self._second, self._stamp = second, _stamp(now)
        try:
            self.stream.write(f"{self._stamp}.{int((now - second) * 1000):03d}Z [{os.getpid()}] info: {text}\n")
            self.stream.flush()
        except (OSError, ValueError):
            return False
        return True


class _Rotated(logging.handlers.WatchedFileHandler):
    """A log file that is made anew when logrotate has moved it away, and used on where it can't be made anew."""

    def _open(self) -> Any:
        """Called by the parents, too. Raises OSError; does not wait for anyone."""
        return open_log(self.baseFilename)

    def reopenIfNeeded(self) -> None:
        """Look whether the path is still our file; never raises, unlike its parent."""
        try:
            found = os.stat(self.baseFilename)
            if (found.st_dev, found.st_ino) == (self.dev, self.ino):
                return
        except OSError:
            pass
        try:
            stream = self._open()
        except OSError:
            return
        old, self.stream = self.stream, stream
        if old is not None:
            with contextlib.suppress(OSError):  # a full disk
                old.close()
        ours = os.fstat(stream.fileno())
        self.dev, self.ino = ours.st_dev, ours.st_ino

    def handleError(self, record: logging.LogRecord) -> None:
        """Drop the line: a full disk must not stop mail."""


class LogFile(_Stamped, _Rotated):
    """A log file of lines as people read them."""

    _look_at = 0.0

    def write_info(self, text: str) -> bool:
        """One line without a record; False if it has to go the long way. A rotated file is noticed within a second."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_AGAIN_S
            self.reopenIfNeeded()
        return super().write_info(text)


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class _JsonFormatter(logging.Formatter):
    """One object in one line, with the time and the level as in ``_StderrFormatter``; a traceback is a member."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        stamp = f"{_stamp(record.created)}.{int(record.msecs):03d}Z"
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        return as_json(stamp, record.levelname.lower(), record.process or 0, record.getMessage(), traceback)


class _StderrFormatter(logging.Formatter):
    """``2026-11-22T16:04:29.123Z [PID] info: event ...``; the level's name in small letters."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """The time of the record in UTC."""
        return _stamp(record.created)

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line; a traceback, if any, follows on lines of its own."""
        stamp = f"{self.formatTime(record)}.{int(record.msecs):03d}Z"
        text = super().format(record)
        return f"{stamp} [{record.process}] {record.levelname.lower()}: {text}"


def set_up(settings: LogSettings) -> None:
    """Send this process's log where settings say. Called before the fork and again after a reload.

    Raises OSError if the log file can't be opened; then nothing has changed. A full disk is no reason to raise.
    """
    handlers = _sinks(settings)
    root = logging.getLogger()
    old, root.handlers = root.handlers, handlers
    for handler in old:
        close_quietly(handler)
    root.setLevel(_LEVELS[settings.level])
    logging.addLevelName(NOTICE, "NOTICE")
    logging.getLogger(STATISTICS).setLevel(NOTICE if settings.statistics else logging.CRITICAL + 1)
    _leave_out_what_no_line_shows()
    if any(isinstance(handler, SyslogHandler) for handler in handlers) and not os.path.exists(SYSLOG_SOCKET):
        log.warning("syslog-unavailable socket=%s error=%s", SYSLOG_SOCKET, quoted("no syslog daemon listens yet"))


def _leave_out_what_no_line_shows() -> None:
    """Logging finds out where each line comes from, which costs more than the line; documented as dispensable."""
    logging._srcfile = None
    logging.logThreads = False
    logging.logMultiprocessing = False


def quick_info(text: str, *values: object) -> None:
    """``log.info`` for the line that every mail has: the same bytes in a fifth of the time."""
    root = logging.getLogger()
    if root.level > logging.INFO:
        return
    handlers = root.handlers
    for handler in handlers:
        if not isinstance(handler, _QUICK):
            long_way = log.info
            long_way(text, *values)
            return
    line = text % values
    for handler in handlers:
        assert isinstance(handler, _QUICK)
        if not handler.write_info(line):
            handler.handle(log.makeRecord(log.name, logging.INFO, "", 0, text, values, None))


_QUICK = (_Stamped, SyslogHandler, JournalSink)
"""Sinks that can do without a record."""


def _sinks(settings: LogSettings) -> list[logging.Handler]:
    """Where lines go. What systemd reads into the journal from standard error is not sent there a second time."""
    ours = _file_or_stderr(settings)
    if not settings.use_syslog:
        return [ours]
    system = _system_log(settings)
    if settings.path in ("", "-") and _ends_in_journal(system) and journal.has_standard_error(os.environ):
        return [system]
    return [ours, system]


def _file_or_stderr(settings: LogSettings) -> logging.Handler:
    is_json, stream = settings.form == "json", _standard_stream(settings.path)
    sink: logging.Handler
    if stream is not None:
        sink = logging.StreamHandler(stream) if is_json else _Stamped(stream)
    else:
        kind = _Rotated if is_json else LogFile
        sink = kind(settings.path, encoding="utf-8", errors="backslashreplace")
    sink.setFormatter(_JsonFormatter() if is_json else _StderrFormatter("%(message)s"))
    return sink


def _standard_stream(path: str) -> IO[str] | PatientStream | None:
    """Standard error, or standard output where that is no file; None if path names a log file."""
    if path in _STANDARD:
        return PatientStream(_STANDARD[path]) if is_patience_needed(_STANDARD[path]) else None
    if path not in ("", "-"):
        return None
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return sys.stderr  # what stands in for it, or None
    return PatientStream(descriptor) if is_patience_needed(descriptor) else sys.stderr


_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}
"""What can't be opened by name if it is a socket, nor by another user if it is a pipe."""


def _system_log(settings: LogSettings) -> logging.Handler:
    """The journal if it listens, else syslog; also where no daemon listens yet: each line tries anew."""
    facility = settings.syslog_facility
    if settings.journal != "no":
        number = SyslogHandler.facility_names[facility]
        with contextlib.suppress(OSError):
            return JournalSink(journal.SOCKET, IDENT, number, SYSLOG_PATIENCE_S, SYSLOG_PAUSE_S)
    handler = SyslogHandler(address=SYSLOG_SOCKET, facility=facility)
    handler.setFormatter(logging.Formatter(f"{IDENT}[%(process)d]: %(message)s"))
    handler.append_nul = False
    return handler


def _ends_in_journal(system: logging.Handler) -> bool:
    return isinstance(system, JournalSink) or os.path.realpath(SYSLOG_SOCKET).startswith(JOURNAL_DIRECTORY)


def shown(data: bytes, limit: int = 100) -> str:
    """Bytes of a peer as a value in a log line: ASCII, escaped, cut, without blanks and quotes of its own."""
    text = ascii(bytes(data[:limit]))[2:-1]
    return text.replace(" ", "\\x20").replace('"', "\\x22") + ("..." if len(data) > limit else "") or '""'


def quoted(text: str, limit: int = 200) -> str:
    """Text with blanks as a value in a log line: one line, in double quotes, escaped, cut."""
    inner = ascii(text[:limit])[1:-1].replace("\\'", "'").replace('"', "'")
    return f'"{inner}{"..." if len(text) > limit else ""}"'


class RateLimit:
    """Lets one event per cause and minute through, and counts the others. Remembers CAUSES_MAX causes."""

    def __init__(self, repeat_s: float = REPEAT_S) -> None:
        self._repeat_s = repeat_s
        self._causes: dict[Hashable, tuple[float, int]] = {}

    def allows(self, cause: Hashable, now: float | None = None) -> str | None:
        """None if the event is to be held back, else what to append: "" or `` repeated=N``."""
        now = time.monotonic() if now is None else now
        last, held = self._causes.get(cause, (None, 0))
        if last is not None and now - last < self._repeat_s:
            self._causes[cause] = (last, held + 1)
            return None
        if len(self._causes) >= CAUSES_MAX:
            self._causes.clear()
        self._causes[cause] = (now, 0)
        return f" repeated={held}" if held else ""
