"""Writes the manual pages: what a command says with ``--help``, and the text in ``docs/man/text`` that goes with it.

``docs/man/text/NAME.SECTION`` begins with one line for NAME and goes on with sections in man(7). A command can do
without. Pages are kept in ``docs/man``, so that a build needs none of this; ``make man`` runs it and a test compares.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

from places import ROOT, commands, version

PAGES = ROOT / "docs/man"
TEXTS = PAGES / "text"

_START = "import importlib, sys; sys.argv[0] = sys.argv.pop(1); m, f = sys.argv.pop(1).split(':'); "
_START += "getattr(importlib.import_module(m), f)()"
_HEADING = re.compile(r"^([a-z][a-zA-Z ,-]*):$")
_OPTION = re.compile(r"^ {2}(?:  )?(\S(?:.*?\S)?)(?: {2,}(\S.*))?$")


@dataclass
class Help:
    """What ``--help`` said, taken apart. groups are heading and (option, meaning); the end is as it was printed."""

    usage: str
    description: str
    groups: list[tuple[str, list[tuple[str, str]]]] = field(default_factory=list)
    end: list[str] = field(default_factory=list)


def ask(name: str, entry: str) -> str:
    """The text of ``NAME --help``, in lines so long that nothing is broken that need not be."""
    command = [sys.executable, "-B", "-c", _START, name, entry, "--help"]
    environment = {
        **os.environ,
        "COLUMNS": "1000",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout.decode()


def take_apart(text: str) -> Help:
    """The parts of argparse's text; its forms differ between versions of Python, and come out the same."""
    lines = text.splitlines()
    first_gap = lines.index("")
    usage = " ".join(line.strip() for line in lines[:first_gap]).partition(" ")[2]
    second_gap = lines.index("", first_gap + 1)
    parts = Help(usage, " ".join(lines[first_gap + 1 : second_gap]))
    rest = lines[second_gap + 1 :]
    while rest:
        block = rest[: rest.index("")] if "" in rest else rest
        rest = rest[len(block) + 1 :]
        heading = _HEADING.match(block[0]) if block else None
        if heading and not parts.end and len(block) > 1 and block[1].startswith("  ") and _is_list(block[1:]):
            parts.groups.append((heading[1].replace("optional arguments", "options"), list(_options(block[1:]))))
        else:
            parts.end += [*block, ""]
    return parts


def _is_list(lines: list[str]) -> bool:
    return all(_OPTION.match(line) or line.startswith(" " * 20) for line in lines)


def _options(lines: list[str]) -> Iterator[tuple[str, str]]:
    name, meaning = "", ""
    for line in lines:
        found = _OPTION.match(line)
        if line.startswith(" " * 20) or found is None:
            meaning = f"{meaning} {line.strip()}".strip()
            continue
        if name:
            yield _once(name), meaning
        name, meaning = found[1], found[2] or ""
    if name:
        yield _once(name), meaning


def _once(names: str) -> str:
    """``-s SPEC, --spec SPEC`` as ``-s, --spec SPEC``, the way of Python 3.13."""
    forms = names.split(", ")
    value = forms[-1].partition(" ")[2]
    if not value or not all(form.startswith("-") for form in forms):
        return names
    return ", ".join([form.partition(" ")[0] for form in forms[:-1]] + [forms[-1]])


def page(name: str, section: str, text: str, own: str) -> str:
    """A manual page. text is what ``--help`` says, own what ``docs/man/text`` has."""
    parts = take_apart(text)
    summary, _, sections = own.partition("\n")
    made = [f'.TH {_escape(name).upper()} {section} "" "milter-manager {version()}"']
    made += [".SH NAME", f"{_escape(name)} \\- {_escape(summary)}", ".SH SYNOPSIS", f".B {_escape(name)}"]
    made += [_escape(_synopsis(parts.usage)), ".SH DESCRIPTION", _escape(parts.description)]
    sections = sections.strip("\n")
    if sections and not sections.startswith(".SH"):
        more, _, sections = sections.partition("\n.SH")
        made += [".PP", more]
        sections = f".SH{sections}" if sections else ""
    made.append(".SH OPTIONS")
    for heading, entries in parts.groups:
        if len(parts.groups) > 1:
            made.append(f'.SS "{_escape(heading.capitalize())}"')
        for option, meaning in entries:
            made += [".TP", f".B {_escape(option)}", _escape(meaning) or "\\&"]
    if any(line.strip() for line in parts.end):
        made += [".SH NOTES", ".nf", *(_escape(line) for line in _stripped(parts.end)), ".fi"]
    if sections:
        made.append(sections)
    return "\n".join(made) + "\n"


def _synopsis(usage: str) -> str:
    """Usage in which argparse lists all options is cut to what has to be given."""
    if "[-h]" not in usage and "[--version]" not in usage:
        return usage.partition(" ")[2]
    outside = re.sub(r"\[[^][]*(?:\[[^][]*\][^][]*)*\]", "", usage).split()[1:]
    return " ".join(["[OPTION...]", *outside])


def _stripped(lines: list[str]) -> list[str]:
    """Without empty lines at the ends, and with none that is longer than a page is wide."""
    kept = "\n".join(lines).strip("\n").split("\n")
    return [short for line in kept for short in textwrap.wrap(line, 120, break_on_hyphens=False) or [""]]


def _escape(text: str) -> str:
    """For roff: backslashes, hyphens that are to be copied, and no line that begins like a request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


def pages() -> dict[str, str]:
    """All pages by file name. A command without a text of its own gets a plain page in section 1."""
    made = {}
    for name, entry in commands().items():
        said = ask(name, entry)
        texts = sorted(TEXTS.glob(f"{name}.[1-8]"))
        file_name = texts[0].name if texts else f"{name}.1"
        own = texts[0].read_text("utf-8") if texts else _summary(said)
        made[file_name] = page(name, file_name[-1], said, own)
    return made


def _summary(said: str) -> str:
    """The first sentence of the description, as NAME has it."""
    sentence = take_apart(said).description.partition(". ")[0].rstrip(".")
    return sentence[:1].lower() + sentence[1:]


def main() -> None:
    """``manual.py [--check]``."""
    parser = argparse.ArgumentParser(
        description="Write the manual pages, or say which are not as they would be written."
    )
    parser.add_argument("--check", action="store_true")
    is_check = parser.parse_args().check
    old = []
    for name, text in pages().items():
        file = PAGES / name
        if not file.exists() or file.read_text("utf-8") != text:
            old.append(name)
            if not is_check:
                file.write_text(text, "utf-8")
    if is_check and old:
        sys.exit(f"not as the commands say: {', '.join(old)}; `make man` writes them")


if __name__ == "__main__":
    main()
