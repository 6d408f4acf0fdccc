"""``mmgr.detect.shell``: what a start script's variables are, without running it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmgr.detect.shell import MAX_FILES, MAX_VALUE, Shell

from .trees import Content, Link, plant


def run(root: Path, text: str, **files: Content) -> Shell:
    """The variables after the script; files stand in /etc."""
    tree = plant(root, {"/script": text, **{f"/etc/{name}": content for name, content in files.items()}})
    shell = Shell(tree)
    shell.read("/script")
    return shell


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=b", "b"),
        ("A='b c' # d", "b c"),
        ('A="b $X d"', "b x d"),
        ("A='$X'", "$X"),
        ("A=${X}y", "xy"),
        ("A=$UNSET", ""),
        ("A=b; A=c", "c"),
        ("export A=b", "b"),
        ("A=${UNSET:-$X}", "x"),
        ("A=${X-y}", "x"),
        (': ${A:="y $X"}', "y x"),
        (": ${A=y}", "y"),
        ("A=x\n: ${A:=y}", "x"),
        ("A=${X:+z}", "z"),
        ('A="b\\\nc"', "bc"),
        ("A=a\\\nb", "ab"),
        ("A='b\nc'", "b\nc"),
        ('A="a \\"b\\" \\$X"', 'a "b" $X'),
        ("A=a#b", "a#b"),
        ("A=b >/dev/null 2>&1", "b"),
        ("A=b\nA=c /bin/true", "b"),
    ],
)
def test_an_assignment_is_followed(tmp_path: Path, text: str, value: str) -> None:
    assert run(tmp_path, f"X=x\n{text}\n").text("A") == value


@pytest.mark.parametrize("text", ["A=$(date)", "A=`date`", "A=$1", 'A="$@"', "A=${X#y}", 'A=b\nA="$(cat "/x y") $X"'])
def test_what_only_running_it_would_tell_is_not_known(tmp_path: Path, text: str) -> None:
    assert "A" in run(tmp_path, text).unknown


@pytest.mark.parametrize(
    "condition",
    [
        "[ -f /etc/there ]",
        "test -r /etc/there",
        "[ ! -e /etc/none ]",
        "[ -e /etc/none ] || [ -e /etc/there ]",
        "[ -x /etc/there ] && [ -s /etc/there ]",
        "[ -d /etc -a -n x ]",
        "[ -z '' ]",
        '[ "$X" = x ]',
        "[ $X != y ]",
        "[ $UNSET -o x ]",
        "true",
        "! false",
    ],
)
def test_a_question_about_files_and_known_variables_is_answered(tmp_path: Path, condition: str) -> None:
    text = f"X=x\nif {condition}; then\n A=yes\nelse\n A=no\nfi\n"
    assert run(tmp_path, text, there="x").text("A") == "yes"


@pytest.mark.parametrize("condition", ["[ -e /etc/none ]", "false", "[ -n '' ]", "[ x = y ] && grep x y"])
def test_the_other_branch_counts_where_the_answer_is_no(tmp_path: Path, condition: str) -> None:
    assert run(tmp_path, f"if {condition}\nthen A=yes; else A=no; fi\n").text("A") == "no"


@pytest.mark.parametrize("condition", ["grep -q x /etc/y", "[ -e /script ] && grep x y", '[ "$1" = start ]'])
def test_neither_branch_counts_where_a_program_would_have_to_answer(tmp_path: Path, condition: str) -> None:
    assert run(tmp_path, f"A=before\nif {condition}; then A=yes; else A=no; fi\n").text("A") == "before"


def test_of_several_branches_the_first_that_holds_counts(tmp_path: Path) -> None:
    text = "if false; then A=1; elif true; then A=2; elif true; then A=3; else A=4; fi"
    assert run(tmp_path, text).text("A") == "2"


def test_a_condition_within_a_branch_that_does_not_count_does_not_count(tmp_path: Path) -> None:
    assert run(tmp_path, "A=0\nif false; then\n if true; then A=1; fi\n A=2\nfi\n").text("A") == "0"


@pytest.mark.parametrize(
    "text",
    [
        "f() {\n A=no\n}\n",
        "f ()\n{\n if true; then A=no; fi\n}\n",
        "function f {\n A=no\n}\n",
        "for x in 1 2; do A=no; done\n",
        "while read x; do\n A=no\ndone <<EOF\nA=no\nEOF\n",
        "case $1 in\n a) A=no;;\n b|c)\n A=no\n ;;\nesac\n",
        "(A=no)\n",
        "cat <<'X Y'\nA=no\nX Y\n",
        "cat <<-E\n\tA=no\n\tE\n",
        "echo | A=no\n",
    ],
)
def test_functions_loops_cases_and_documents_are_passed_over(tmp_path: Path, text: str) -> None:
    shell = run(tmp_path, f"A=yes\n{text}B=behind\n")
    assert (shell.text("A"), shell.text("B")) == ("yes", "behind")


@pytest.mark.parametrize(
    "text",
    [
        ". /etc/settings",
        "source /etc/settings",
        "F=/etc/settings\nif [ -r $F ]; then\n . $F;\nfi;",
        "[ -f /etc/settings ] && . /etc/settings",
        "test ! -f /etc/settings || . /etc/settings",
        "{ . /etc/settings; }",
    ],
)
def test_a_settings_file_is_read_where_the_script_reads_it(tmp_path: Path, text: str) -> None:
    shell = run(tmp_path, f"A=before\n{text}\nB=$A\n", settings="# x\nA=set\n")
    assert (shell.text("B"), str(shell.variables["A"].where)) == ("set", "/etc/settings:2")


def test_libraries_of_functions_are_not_read(tmp_path: Path) -> None:
    assert run(tmp_path, ". /etc/functions\n", functions="A=no\n").text("A") == ""


def test_a_file_that_reads_itself_comes_to_an_end(tmp_path: Path) -> None:
    shell = run(tmp_path, ". /etc/a\nA=end\n", a=". /etc/a\n")
    assert (len(shell.files), shell.text("A")) == (MAX_FILES, "end")


def test_a_settings_file_that_can_not_be_read_is_a_problem(tmp_path: Path) -> None:
    shell = run(tmp_path, ". /etc/a\nA=end\n", a=Link("a"))
    assert ([problem.where.path for problem in shell.problems], shell.text("A")) == (["/etc/a"], "end")


def test_a_value_that_doubles_itself_comes_to_an_end(tmp_path: Path) -> None:
    shell = run(tmp_path, "A=xx\n" + "A=$A$A\n" * 100)
    assert len(shell.text("A")) <= MAX_VALUE


@given(
    st.text(alphabet="A=$({x})`'\"\\;|&<E \n#[]if", max_size=60), st.sampled_from(["if ", "case ", "f() {", "A=", ""])
)
def test_no_text_breaks_the_reading(text: str, start: str) -> None:
    with TemporaryDirectory() as directory:
        shell = run(Path(directory), start + text)
        assert shell.files == ["/script"]


@pytest.mark.timeout(30)
@pytest.mark.parametrize("row", ["if ", "A='", "$(", "A=${A:=${", "((((", "x <<E", "{ ", "`", "a\\"])
def test_a_script_of_the_largest_size_takes_linear_time(tmp_path: Path, row: str) -> None:
    """Quadratic time would be hours, the limit of this test is seconds."""
    for end in ("", "\n"):
        assert run(tmp_path, (row + end) * (150000 // len(row + end))).files == ["/script"]
