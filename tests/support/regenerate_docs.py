"""Writes the parts of the documentation that are made from ``mmgr/config/spec.ini``.

Run it from the top of the tree after a change of that file: ``.venv/bin/python tests/support/regenerate_docs.py``.
``tests/unit/config/test_docs.py`` compares what stands in the tree with what this would write.
"""

from __future__ import annotations

from pathlib import Path

from mmgr.config import writer

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "configuration.md"
SAMPLE = ROOT / "etc" / "milter-manager.conf"
BEGIN = "<!-- made by tests/support/regenerate_docs.py: begin -->\n"
END = "<!-- made by tests/support/regenerate_docs.py: end -->\n"


def with_reference(text: str) -> str:
    """The text of ``docs/configuration.md`` with the tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{writer.reference()}\n{END}{after}"


def main() -> None:
    """Write both files."""
    REFERENCE.write_text(with_reference(REFERENCE.read_text(encoding="utf-8")), encoding="utf-8")
    SAMPLE.write_text(writer.sample(), encoding="utf-8")


if __name__ == "__main__":
    main()
