"""What can end a run of the log analyzer early. Each says what to do; the databases are as they were before the run."""

from __future__ import annotations

from mmgr.errors import MmgrError


class AnalyzerError(MmgrError):
    """A run that could not be done; its text is fit for a terminal."""


class LogUnreadable(AnalyzerError):
    """A log that can't be opened or read."""


class OutputUnwritable(AnalyzerError):
    """The output directory, or something in it, can't be written: rights, or a full disk."""


class AlreadyRunning(AnalyzerError):
    """Another run is at work in the same output directory."""


class RrdtoolMissing(AnalyzerError):
    """There is no rrdtool on this machine."""


class RrdtoolFailed(AnalyzerError):
    """rrdtool refused a command, or ended in the middle of one."""
