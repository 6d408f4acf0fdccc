"""The same files read by rspamd's own tool, where that is installed: it has the last word on what counts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from mmgr.detect.milters.rspamd import CANDIDATE
from mmgr.detect.tree import Tree

from .services import DEBIAN, socket, started_by

MAIN = "/etc/rspamd/rspamd.conf"
LOCAL = "local.d/worker-proxy.inc"
OVERRIDE = "override.d/worker-proxy.inc"

pytestmark = pytest.mark.skipif(
    shutil.which("rspamadm") is None or not Path(MAIN).exists(), reason="rspamd is not installed here"
)


def first_socket(local: Path) -> str:
    """The first socket of the last proxy in rspamadm's merged view."""
    command = ["rspamadm", f"--var=LOCAL_CONFDIR={local}", "configdump", "-j", "-c", MAIN]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    merged = json.loads(text[text.index("{") :])["worker"]
    workers = merged if isinstance(merged, list) else [merged]
    sockets = [worker["rspamd_proxy"]["bind_socket"] for worker in workers if "rspamd_proxy" in worker][-1]
    return str(sockets[0] if isinstance(sockets, list) else sockets)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({LOCAL: 'bind_socket = ["/run/a mode=0660", "*:9900"]\n', OVERRIDE: "timeout = 60s\n"}, "/run/a mode=0660"),
        ({LOCAL: 'bind_socket = "/run/a"\n', OVERRIDE: "bind_socket = /run/b mode=0666 # c\n"}, "/run/b mode=0666"),
        ({LOCAL: 'bind_socket "*:9900"; bind_socket: "/run/c";\n'}, "*:9900"),
        ({"rspamd.conf.override": "worker { rspamd_proxy { milter = on; bind_socket = <<E\n/run/d\nE\n } }"}, "/run/d"),
    ],
)
def test_rspamd_s_own_tool_finds_the_same_socket(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    service = started_by("rspamd", f"/usr/bin/rspamd -c {MAIN} -f --var=LOCAL_CONFDIR={tmp_path}")
    ours = socket(CANDIDATE.examine(service, Tree("/"), DEBIAN))
    address = expected.split()[0].replace("*:9900", "inet:9900@localhost")
    assert (first_socket(tmp_path), ours.replace("unix:", "")) == (expected, address)
