"""milter-test-server: plays the MTA against one milter, with one or more messages, and prints what became of each.

Options and output are the incumbent's; what differs is in docs/test-tools.md. Results go to standard output,
everything else to standard error; the exit code says which outcome it was.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Sequence

from mmgr import __version__
from mmgr.cli import test_server_output as output
from mmgr.cli.test_server_options import EXIT_CONNECTION, EXIT_INTERRUPTED, EXIT_PROTOCOL, EXIT_TIMEOUT, parser, plan
from mmgr.cli.test_server_options import EXIT_OF_STATUS, Plan, worst
