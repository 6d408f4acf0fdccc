"""The software bill of materials of an installation, in CycloneDX 1.5: ourselves and the wheels that come along.

The same input gives the same bytes: the serial number is made of the content, the time is ``SOURCE_DATE_EPOCH``.
Called by ``lay_out``. Source: the CycloneDX 1.5 JSON schema, the package-url specification.
"""

from __future__ import annotations

import datetime
import json
import os
import uuid
from pathlib import Path

import wheels as pinned

_SPDX = {"BSD-3-Clause", "MIT", "Apache-2.0", "ISC"}
_SPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")  # the URL name space of RFC 4122
_HOME = "https://cyclonedx.org/"


def bill(version: str, wheels: list[pinned.Wheel], directory: Path) -> str:
    """The text of the bill. wheels are those that were unpacked, and lie in directory."""
    ours = {
        "type": "application",
        "bom-ref": "milter-manager",
        "name": "milter-manager",
        "version": version,
        "licenses": [{"license": {"id": "GPL-3.0-or-later"}}],
        "purl": f"pkg:generic/milter-manager@{version}",
    }
    components = [_component(name, wheels, directory) for name in sorted({wheel.name for wheel in wheels})]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"timestamp": _timestamp(), "component": ours},
        "components": components,
        "dependencies": [
            {"ref": "milter-manager", "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }
    serial = uuid.uuid5(_SPACE, _HOME + json.dumps(content, sort_keys=True))
    return json.dumps({"serialNumber": f"urn:uuid:{serial}", **content}, indent=2, sort_keys=True) + "\n"


def _component(name: str, wheels: list[pinned.Wheel], directory: Path) -> dict[str, object]:
    """One package. It may come in several wheels, one for each Python; each is a component within it."""
    own = [wheel for wheel in wheels if wheel.name == name]
    version = own[0].version
    purl = f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "scope": "required",
        "licenses": [_licence(pinned.licence(directory / own[0].file_name))],
        "components": [
            {
                "type": "file",
                "bom-ref": f"{purl}#{wheel.file_name}",
                "name": wheel.file_name,
                "hashes": [{"alg": "SHA-256", "content": wheel.sha256}],
            }
            for wheel in own
        ],
    }


def _licence(text: str) -> dict[str, object]:
    """One entry of ``licenses``: an identifier, an expression of several, or a name that is neither."""
    if " AND " in text or " OR " in text:
        return {"expression": text}
    return {"license": {"id": text} if text in _SPDX else {"name": text}}


def _timestamp() -> str:
    """The time that the build says it is; else that of the epoch, so that nothing depends on the clock."""
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH") or 0)
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
