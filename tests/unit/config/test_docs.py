"""``spec.ini``, the model, the documentation and the sample file say the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mmgr.config.loader import load
from mmgr.config.model import ChildSettings, Config
from mmgr.config.spec import CHILDREN, RECORDS, Setting, spec
from mmgr.config.values import CHECKS
from mmgr.config.writer import quoted_name, sample, show
from tests.support.configuration import Directory
from tests.support.regenerate_docs import REFERENCE, SAMPLE, with_reference

OWN = "conditions.*"
REGENERATE = "run .venv/bin/python tests/support/regenerate_docs.py"
LIVE = [pytest.param(setting, id=f"{setting.section}.{setting.key}") for setting in spec().live]
ALL = [setting for keys in spec().sections.values() for setting in keys.values()]


def shown_default(setting: Setting) -> str:
    """The default as ``--show-config`` prints it."""
    given = {"milters.a.connection_spec": "unix:/a", "conditions.*.accounts": "a@example.com"}
    shown = {key: value for key, value in given.items() if key != f"{setting.section}.{setting.key}"}
    if setting.key == "accounts":
        shown["conditions.*.expression"] = "authenticated"
    lines = show(load(None, shown).config)
    top, _, below = setting.section.partition(".")
    section = "[[a]]" if setting.section == CHILDREN else f"[[{quoted_name(below)}]]" if below else f"[{top}]"
    found = re.search(rf"^{setting.key} = (.*)$", lines[lines.index(section) :], re.MULTILINE)
    assert found
    return found.group(1)


def test_the_reference_is_what_the_specification_says() -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    assert text == with_reference(text), REGENERATE


def test_the_sample_is_what_the_specification_says() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == sample(), REGENERATE


def test_the_sample_loads_clean(directory: Directory) -> None:
    result = directory.write(SAMPLE.read_bytes()).load()
    assert (result.config.origins, result.warnings) == ({}, ())


def test_the_sample_with_all_keys_uncommented_loads_clean(directory: Directory) -> None:
    result = directory.write(re.sub(r"^#(?=[\w\[])", "", sample(), flags=re.MULTILINE)).load()
    keys = {re.sub(r"^milters\..*\.", "milters.", key) for key in result.config.origins}
    expected = {f"{setting.section}.{setting.key}" for setting in spec().live if setting.section != OWN}
    assert (keys, result.warnings) == (expected, ())


def test_the_sample_with_all_keys_uncommented_gives_the_defaults(directory: Directory) -> None:
    config = directory.write(re.sub(r"^#(?=[\w\[])", "", sample(), flags=re.MULTILINE)).config()
    child = config.children[0]
    expected = Config(children=(ChildSettings(child.name, child.connection_spec),))
    records = [name for name in (*RECORDS, "children") if name != CHILDREN and "." not in name]
    assert [getattr(config, name) for name in records] == [getattr(expected, name) for name in records]


@pytest.mark.parametrize("setting", LIVE)
def test_a_default_is_documented_as_it_is(setting: Setting) -> None:
    documented = setting.default
    if not setting.is_required:
        assert documented in (shown_default(setting), shown_default(setting).removesuffix(".0"))


@pytest.mark.parametrize("setting", ALL, ids=lambda setting: f"{setting.section}.{setting.key}")
def test_a_setting_has_a_meaning_a_unit_and_a_version(setting: Setting) -> None:
    assert (setting.meaning.endswith("."), bool(setting.unit), setting.since) == (True, True, "3.0")


@pytest.mark.parametrize("setting", LIVE)
def test_a_check_of_the_specification_exists(setting: Setting) -> None:
    assert setting.kind in CHECKS


def test_every_field_of_the_model_is_a_setting() -> None:
    fields = {(section, name) for section, record in RECORDS.items() for name in record.__dataclass_fields__}
    settings = {(setting.section, setting.field) for setting in spec().live}
    of_subsections = {("conditions", "built_in"), ("conditions", "own")}
    assert fields - settings == {(CHILDREN, "name"), (OWN, "name"), *of_subsections}


def test_every_section_is_described() -> None:
    assert all(text.endswith(".") for text in spec().about.values())


def test_the_example_of_the_introduction_loads_clean(directory: Directory) -> None:
    text = REFERENCE.read_text(encoding="utf-8")
    example = text[text.index("    # milter-manager.local.conf") : text.index("`milter-manager --check-config`")]
    result = directory.write(example, "milter-manager.local.conf").load()
    assert ([child.name for child in result.config.children], result.warnings) == (
        ["milter-greylist", "clamav-milter"],
        (),
    )


def test_the_errors_of_the_introduction_are_those_that_are_given(directory: Directory) -> None:
    directory.write("#\n\n\n[manager]\nchunk_size = 70000\nconection_spec = unix:/x\n", "milter-manager.local.conf")
    text = REFERENCE.read_text(encoding="utf-8")
    assert all(str(error).replace(str(directory.path), "/etc/milter-manager") in text for error in directory.errors())


def test_the_specification_is_found_beside_the_code() -> None:
    assert Path(__file__).parents[3].joinpath("mmgr", "config", "spec.ini").is_file()
