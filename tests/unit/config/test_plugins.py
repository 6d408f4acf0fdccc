"""Plug-ins: which files are run, which classes become conditions, and what their faults cost."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmgr.conditions.base import Condition, Stage
from mmgr.conditions.facts import Facts
from mmgr.config.plugins import MODULE_PREFIX, load_plugins
from mmgr.errors import ConfigError

HEAD = """\
from mmgr.conditions.base import Condition, Stage
"""
GOOD = (
    HEAD
    + """
class Night(Condition):
    name = "Night Shift"
    description = "from ten to six"
    stages = frozenset((Stage.CONNECT,))
    reads = {Stage.CONNECT: (b"j",)}

    def judge(self, stage, facts):
        return "" if facts.helo == b"night" else "it is day"
"""
)
NOBODY = 65534
FACTS = Facts(helo=b"night")


class Plugins:
    """A configuration directory with plug-ins in it."""

    def __init__(self, path: Path) -> None:
        self.path = path / "conditions.d"
        self.path.mkdir(mode=0o755)
        self.conditions: dict[str, Condition] = {}

    def write(self, text: str | bytes, name: str = "a.py") -> Path:
        file = self.path / name
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        file.chmod(0o644)
        return file

    def load(self) -> list[ConfigError]:
        """The faults; what was found is in conditions."""
        self.conditions, errors = load_plugins(str(self.path.parent))
        return errors

    def error(self, text: str | bytes) -> tuple[int, str]:
        """Line and problem of the only fault of a file, which gives no condition."""
        self.write(text)
        (error,) = self.load()
        assert (self.conditions, error.path, error.key) == ({}, str(self.path / "a.py"), "conditions.d")
        return error.line, error.problem

    def condition(self, text: str) -> Condition:
        """The only condition of a file without faults."""
        self.write(text)
        assert self.load() == []
        (condition,) = self.conditions.values()
        return condition


@pytest.fixture
def plugins(tmp_path: Path) -> Iterator[Plugins]:
    tmp_path.chmod(0o755)
    yield Plugins(tmp_path)
    for name in [name for name in sys.modules if name.startswith(MODULE_PREFIX)]:
        del sys.modules[name]


def plugin(body: str, head: str = 'name = "X"\n    stages = frozenset((Stage.MAIL,))') -> str:
    """A file with one class; body is indented by four."""
    return f"{HEAD}class X(Condition):\n    {head}\n    {body}\n"


# ---- what is found


def test_a_class_becomes_a_condition(plugins: Plugins) -> None:
    condition = plugins.condition(GOOD)
    assert (condition.name, condition.description, condition.stages, condition.reads) == (
        "Night Shift",
        "from ten to six",
        {Stage.CONNECT},
        {Stage.CONNECT: (b"j",)},
    )


def test_the_class_judges(plugins: Plugins) -> None:
    condition = plugins.condition(GOOD)
    assert [condition.judge(Stage.CONNECT, facts) for facts in (FACTS, Facts())] == ["", "it is day"]


def test_the_class_adds_macros(plugins: Plugins) -> None:
    text = plugin("def macros(self, stage, facts): return {b'{x}': b'y'}", 'name = "X"; macro_stages = (Stage.MAIL,)')
    assert plugins.condition(text).macros(Stage.MAIL, FACTS) == {b"{x}": b"y"}


def test_files_come_in_the_order_of_their_names(plugins: Plugins) -> None:
    for name in ("10-b", "09-a", "c"):
        plugins.write(GOOD.replace("Night Shift", name), f"{name}.py")
    plugins.load()
    assert list(plugins.conditions) == ["09-a", "10-b", "c"]


def test_a_base_without_a_name_and_an_imported_class_are_no_conditions_of_the_file(plugins: Plugins) -> None:
    text = GOOD + "\nclass Base(Condition): pass\nfrom mmgr.conditions.s25r import S25R\nAgain = Night\n"
    assert plugins.condition(text).name == "Night Shift"


def test_a_dataclass_can_be_a_condition(plugins: Plugins) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n" + HEAD
    text += """
@dataclass
class X(Condition):
    name: ClassVar[str] = "X"
    stages: ClassVar[frozenset[Stage]] = frozenset((Stage.MAIL,))
    limit: int = 5
    def judge(self, stage, facts): return str(self.limit)
"""
    assert plugins.condition(text).judge(Stage.MAIL, FACTS) == "5"


def test_the_module_has_a_name_of_its_own(plugins: Plugins) -> None:
    plugins.write(plugin("def judge(self, stage, facts): return __name__"), "50-day.x.py")
    plugins.load()
    assert plugins.conditions["X"].judge(Stage.MAIL, FACTS) == "mmgr_conditions_50_day_x"


def test_other_files_and_hidden_ones_are_left_alone(plugins: Plugins) -> None:
    for name in ("a.txt", ".a.py", "a.py.rpmsave", "a.pyc"):
        plugins.write("raise SystemExit(1)", name)
    assert (plugins.load(), plugins.conditions) == ([], {})


def test_no_byte_code_is_written(plugins: Plugins) -> None:
    plugins.condition(GOOD)
    assert [path.name for path in plugins.path.rglob("*")] == ["a.py"]


def test_loading_again_reads_anew(plugins: Plugins) -> None:
    first = plugins.condition(GOOD)
    second = plugins.condition(GOOD.replace("it is day", "changed"))
    assert [each.judge(Stage.CONNECT, Facts()) for each in (first, second)] == ["it is day", "changed"]


def test_without_the_directory_there_are_no_plug_ins(tmp_path: Path) -> None:
    assert load_plugins(str(tmp_path)) == ({}, [])


def test_a_configuration_directory_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    (error,) = load_plugins(str(tmp_path / "none"))[1]
    assert error.problem == "can't be opened: No such file or directory"


# ---- who may write


@pytest.mark.parametrize(("mode", "who"), [(0o664, "its group"), (0o646, "everybody"), (0o666, "everybody")])
def test_a_file_that_others_can_write_is_not_run(plugins: Plugins, mode: int, who: str) -> None:
    plugins.write("raise SystemExit(1)").chmod(mode)
    (error,) = plugins.load()
    assert (error.problem, "chmod go-w" in error.hint) == (f"can be written by {who}", True)


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o1777])
def test_nothing_is_run_of_a_directory_that_others_can_write(plugins: Plugins, mode: int) -> None:
    plugins.write(GOOD)
    plugins.path.chmod(mode)
    (error,) = plugins.load()
    assert (plugins.conditions, error.path, error.problem[:14]) == ({}, str(plugins.path), "can be written")


def test_nothing_is_run_below_a_directory_that_others_can_write(plugins: Plugins) -> None:
    plugins.write(GOOD)
    plugins.path.parent.chmod(0o777)
    (error,) = plugins.load()
    assert (plugins.conditions, error.path) == ({}, str(plugins.path.parent))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_not_run(plugins: Plugins) -> None:
    os.chown(plugins.write("raise SystemExit(1)"), NOBODY, 0)
    (error,) = plugins.load()
    assert error.problem == f"belongs to user {NOBODY}, and is not trusted"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
@pytest.mark.parametrize("depth", [0, 1])
def test_nothing_is_run_below_a_directory_of_somebody_else(plugins: Plugins, depth: int) -> None:
    plugins.write(GOOD)
    directory = (plugins.path, plugins.path.parent)[depth]
    os.chown(directory, NOBODY, 0)
    (error,) = plugins.load()
    assert (plugins.conditions, error.path) == ({}, str(directory))


def test_a_link_in_place_of_a_file_is_not_followed(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("raise SystemExit(1)")
    (plugins.path / "a.py").symlink_to(tmp_path / "elsewhere.py")
    (error,) = plugins.load()
    assert error.problem == "is a symbolic link"


@pytest.mark.parametrize("target", ["real", "../{}/real", "{0}/real"])
def test_a_link_on_the_way_is_followed(plugins: Plugins, tmp_path: Path, target: str) -> None:
    plugins.write(GOOD)
    (tmp_path / "real").mkdir()
    plugins.path.rename(tmp_path / "real" / "conditions.d")
    base = str(tmp_path) if target.startswith("{0}") else tmp_path.name
    (tmp_path / "link").symlink_to(target.format(base))
    assert list(load_plugins(str(tmp_path / "link"))[0]) == ["Night Shift"]


def test_a_directory_that_others_can_write_is_found_behind_a_link(plugins: Plugins, tmp_path: Path) -> None:
    plugins.write(GOOD)
    (tmp_path / "open").mkdir()
    plugins.path.rename(tmp_path / "open" / "conditions.d")
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to("open")
    found, (error,) = load_plugins(str(tmp_path / "link"))
    assert (found, error.path) == ({}, str(tmp_path / "open"))


def test_links_in_a_circle_end(plugins: Plugins, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (error,) = load_plugins(str(tmp_path / "a"))[1]
    assert error.problem == "can't be opened: Too many levels of symbolic links"


def test_a_fifo_does_not_hold_the_start(plugins: Plugins) -> None:
    os.mkfifo(plugins.path / "a.py", 0o644)
    (error,) = plugins.load()
    assert error.problem == "is not an ordinary file"


def test_a_file_that_is_too_large_is_not_run(plugins: Plugins) -> None:
    assert plugins.error("#" * 300000) == (0, "is larger than 262144 bytes")


# ---- what is wrong with a file


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("x = 1\nclass (:\n", 2, "can't be loaded: SyntaxError: "),
        ("\n\nimport nothing_of_that_name\n", 3, "can't be loaded: ModuleNotFoundError: No module named"),
        ("def f():\n    1 / 0\nf()\n", 2, "can't be loaded: ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", 1, "can't be loaded: SystemExit: 3"),
        ("\nraise KeyboardInterrupt", 2, "can't be loaded: KeyboardInterrupt"),
        ("def f(): f()\nf()", 1, "can't be loaded: RecursionError: "),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", 3, "can't be loaded: E"),
        ("x = '\xff'".encode("latin-1"), 1, "can't be loaded: SyntaxError: "),
        ("x = 1", 0, "defines no condition"),
        (HEAD + "class X(Condition): pass", 0, "defines no condition"),
    ],
)
def test_a_file_that_fails_is_told_with_the_line(plugins: Plugins, text: str | bytes, line: int, problem: str) -> None:
    found_line, found_problem = plugins.error(text)
    assert (found_line, found_problem[: len(problem)]) == (line, problem)


def test_a_file_with_a_nul_is_refused(plugins: Plugins) -> None:
    assert plugins.error(b"x = 1\0")[1].startswith("can't be loaded: ")


JUDGE = "def judge(self, stage, facts): return ''"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (plugin(JUDGE, "name = 5"), 2, "class X: name 5 can't be used"),
        (plugin(JUDGE, "name = 'a, b'; stages = (Stage.MAIL,)"), 2, "class X: name 'a, b' can't be used"),
        (plugin(JUDGE, "name = 'a\\nb'; stages = (Stage.MAIL,)"), 2, "class X: name 'a\\nb' can't be used"),
        (plugin(JUDGE, "name = 'X'; description = None"), 2, "class X: description None is not text"),
        (plugin(JUDGE, "name = 'X'"), 2, "class X: stages and macro_stages are both empty"),
        (plugin(JUDGE, "name = 'X'; stages = Stage.MAIL"), 2, "class X: stages <Stage.MAIL: 2> is not a set of stages"),
        (plugin(JUDGE, "name = 'X'; stages = [2]"), 2, "class X: stages [2] is not a set of stages"),
        (plugin(JUDGE, "name = 'X'; macro_stages = 'MAIL'"), 2, "class X: macro_stages 'MAIL' is not a set of stages"),
        (plugin("pass"), 2, "class X: has no method judge"),
        (plugin(JUDGE, "name = 'X'; macro_stages = {Stage.MAIL}"), 2, "class X: has no method macros"),
        (plugin(f"reads = [1]\n    {JUDGE}"), 2, "class X: reads [1] does not give names of macros"),
        (plugin(f"reads = {{Stage.MAIL: (b'a b',)}}\n    {JUDGE}"), 2, "class X: reads {<Stage.MAIL: 2>: (b'a b',)}"),
        (plugin(f"reads = {{Stage.MAIL: b'j'}}\n    {JUDGE}"), 2, "class X: reads {<Stage.MAIL: 2>: b'j'} does not"),
        (plugin("def __init__(self): 1 / 0"), 5, "class X can't be made: ZeroDivisionError"),
        (plugin("def __init__(self, more): pass"), 2, "class X can't be made: TypeError"),
        (plugin("def __init__(self): raise SystemExit"), 5, "class X can't be made: SystemExit"),
        (
            plugin(JUDGE, "name = 'Trust'; stages = {Stage.MAIL}"),
            2,
            "'Trust' is the name of a condition that is built in",
        ),
        (
            plugin(JUDGE, "name = 's25r'; stages = {Stage.MAIL}"),
            2,
            "'s25r' is the name of a condition that is built in",
        ),
    ],
)
def test_a_class_of_another_shape_is_told_with_its_line(plugins: Plugins, text: str, line: int, problem: str) -> None:
    found_line, found_problem = plugins.error(text)
    assert (found_line, found_problem[: len(problem)]) == (line, problem)


def test_a_class_with_an_odd_metaclass_is_a_fault(plugins: Plugins) -> None:
    text = HEAD + "class M(type):\n    @property\n    def name(cls): 1 / 0\nclass X(Condition, metaclass=M): pass\n"
    assert plugins.error(text) == (4, "can't be loaded: ZeroDivisionError: division by zero")


def test_of_two_conditions_with_one_name_the_first_stays_and_the_second_is_a_fault(plugins: Plugins) -> None:
    plugins.write(GOOD)
    plugins.write(GOOD.replace("Night Shift", "night shift"), "b.py")
    (error,) = plugins.load()
    assert (list(plugins.conditions), Path(error.path).name, error.line) == (["Night Shift"], "b.py", 3)


def test_a_fault_in_one_file_leaves_the_others(plugins: Plugins) -> None:
    plugins.write("1 / 0")
    plugins.write(GOOD, "b.py")
    assert (len(plugins.load()), list(plugins.conditions)) == (1, ["Night Shift"])


def test_all_faults_of_a_file_are_told_in_the_order_of_its_lines(plugins: Plugins) -> None:
    plugins.write(HEAD + "class X(Condition): name = 1\nclass Y(Condition): name = 2\n" + GOOD)
    assert ([error.line for error in plugins.load()], list(plugins.conditions)) == ([2, 3], ["Night Shift"])


# ---- faults at work


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("return None", "judge gave None, which is no text"),
        ("return False", "judge gave False, which is no text"),
        ("return b'no'", "judge gave b'no', which is no text"),
        ("return type('T', (str,), {'__bool__': lambda self: 1 / 0})('x')", "judge gave 'x', which is no text"),
    ],
)
def test_a_condition_that_fails_to_judge_applies(
    plugins: Plugins, caplog: pytest.LogCaptureFixture, body: str, error: str
) -> None:
    condition = plugins.condition(plugin(f"def judge(self, stage, facts): {body}"))
    assert condition.judge(Stage.MAIL, FACTS) == ""
    assert f'condition-failed condition="X" stage=mail error="{error}" at="{plugins.path}/a.py' in caplog.text


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(1)", "SystemExit: 1"),
        ("return None", "macros gave None, which is no mapping"),
        ("return [(b'{x}', b'y')]", "macros gave [(b'{x}', b'y')], which is no mapping"),
        ("return {'x': b'y'}", "macros gave 'x', which can't be the name of a macro"),
        ("return {b'x y': b'z'}", "macros gave b'x y', which can't be the name of a macro"),
        ("return {b'{x': b'z'}", "macros gave b'{x', which can't be the name of a macro"),
        ("return {b'{x}': 'y'}", "macros gave b'{x}' the value 'y', which is not bytes without NUL"),
        ("return {b'x': b'a\\x00b'}", "macros gave b'x' the value b'a\\\\x00b', which is not bytes without NUL"),
        ("return {b'x': b'a' * 70000}", "macros gave more than 65535 bytes"),
    ],
)
def test_a_condition_that_fails_to_give_macros_gives_none(
    plugins: Plugins, caplog: pytest.LogCaptureFixture, body: str, error: str
) -> None:
    head = 'name = "X"; macro_stages = {Stage.MAIL}'
    condition = plugins.condition(plugin(f"def macros(self, stage, facts): {body}", head))
    assert condition.macros(Stage.MAIL, FACTS) == {}
    assert f'condition-failed condition="X" stage=mail error="{error}" at="{plugins.path}/a.py' in caplog.text


def test_the_line_that_failed_is_told(plugins: Plugins, caplog: pytest.LogCaptureFixture) -> None:
    plugins.condition(plugin("def judge(self, stage, facts):\n        return 1 / 0")).judge(Stage.MAIL, FACTS)
    assert caplog.text.rstrip().endswith(f'at="{plugins.path}/a.py:6"')


def test_a_fault_is_told_once_for_each_stage(plugins: Plugins, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    condition = plugins.condition(plugin("def judge(self, stage, facts): 1 / 0"))
    for stage in (Stage.MAIL, Stage.RCPT, Stage.MAIL, Stage.RCPT):
        condition.judge(stage, FACTS)
    assert len(caplog.records) == 2


# ---- the documentation


def test_the_example_of_the_documentation_works(plugins: Plugins) -> None:
    text = (Path(__file__).parents[3] / "docs" / "expressions.md").read_text("utf-8")
    example = text.partition("<!-- plug-in: begin -->\n```python\n")[2].partition("```")[0]
    condition = plugins.condition(example)
    facts = Facts(recipient=b"<Postmaster@example.com>")
    assert (condition.judge(Stage.RCPT, facts), condition.macros(Stage.MAIL, facts)) == ("", {b"{logged_in}": b"no"})
