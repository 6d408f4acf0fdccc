"""``mmgr.config.loader``: which files count, what they give together, and every fault that they can have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgr.config.loader import glance, load
from mmgr.config.model import ChildSettings, Config, FallbackStatus
from mmgr.config.spec import RECORDS, Setting, spec
from mmgr.endpoint import Endpoint, parse_endpoint
from mmgr.errors import ConfigErrors
from tests.support.configuration import LOCAL, MAIN, Directory

A = "[milters]\n[[a]]\nconnection_spec = unix:/a\n"
"""One child, in three lines."""


def test_without_a_directory_there_are_the_defaults() -> None:
    assert load(None).config == Config()


def test_an_empty_directory_gives_the_defaults(directory: Directory) -> None:
    assert directory.config() == Config(directory=str(directory.path))


def test_the_default_socket_is_the_one_of_the_package() -> None:
    assert load(None).config.manager.connection_spec == (
        parse_endpoint("unix:/run/milter-manager/milter-manager.sock"),
    )


def test_a_directory_that_does_not_exist_is_an_error(directory: Directory) -> None:
    with pytest.raises(ConfigErrors, match="nowhere: there is no such directory"):
        load(str(directory.path / "nowhere"))


def test_a_file_in_place_of_the_directory_is_an_error(directory: Directory) -> None:
    directory.write("")
    with pytest.raises(ConfigErrors, match="can't be listed: Not a directory"):
        load(str(directory.path / MAIN))


def test_a_directory_with_a_nul_in_its_name_is_an_error() -> None:
    with pytest.raises(ConfigErrors, match="is not the name of a directory"):
        load("/etc/\0")


def test_the_local_file_wins_over_all_others(directory: Directory) -> None:
    for number, name in enumerate([LOCAL, "conf.d/a.conf", MAIN], 1):
        directory.write(f"[manager]\nchunk_size = {number}\n", name)
    assert directory.config().manager.chunk_size_bytes == 1


def test_drop_ins_are_read_in_the_order_of_their_names_after_the_main_file(directory: Directory) -> None:
    for number, name in enumerate([MAIN, "conf.d/10-a.conf", "conf.d/9-b.conf", "conf.d/.hidden.conf", "conf.d/x"], 1):
        directory.write(f"[manager]\nchunk_size = {number}\n", name)
    assert directory.config().manager.chunk_size_bytes == 3


def test_every_setting_reaches_its_field(directory: Directory) -> None:
    directory.write(
        "[package]\ndetection = no\n"
        "platform = el8\noptions = a=1, b=2\n[security]\neffective_user = u\neffective_group = g\n"
        "[log]\nlevel = debug\npath = /l\nuse_syslog = no\nsyslog_facility = local3\n"
        "form = json\njournal = no\nstatistics = yes\n"
        "[manager]\nconnection_spec = inet:1, inet6:2@[::1]\nunix_socket_mode = 600\nunix_socket_group = postfix\n"
        "remove_unix_socket_on_create = no\nremove_unix_socket_on_close = no\ndaemon = yes\npid_file = /p\n"
        "fallback_status = reject\nenvelope_dispatch = sequential\nmilter_order = a\n"
        "chunk_size = 9\nspool_threshold = 8\n"
        "spool_directory = /s\n[workers]\nn_workers = 7\nmin_spare = 1\nmax_spare = 2\nmax_workers = 3\n"
        "overload = accept\nmax_sessions = 4\nmax_age = 5\nmax_memory = 6\nhang_timeout = 7\ndrain_timeout = 8\n"
        "[controller]\nconnection_spec = unix:/c\nunix_socket_mode = 0660\nunix_socket_group = g\n"
        "read_only_connection_spec = inet:3\nread_only_unix_socket_mode = 0660\nread_only_unix_socket_group = g\n"
        "[metrics]\nconnection_spec = inet:4@127.0.0.1\nunix_socket_mode = 0660\nunix_socket_group = g\n"
        "file = /m.prom\nfile_interval = 7\n"
        "[conditions]\nstress_threshold = 9\ndns_name_servers = 192.0.2.1\ndns_timeout = 1\nplugins = yes\n"
        "[[S25R]]\nblacklist = .example.net\n[[own]]\naccounts = a@example.com\n"
        + A
        + "description = d\nenabled = no\nfallback_status = discard\n"
        "evaluation_mode = yes\napplicable_conditions = S25R\nscan_group = g\npipelining = no\n"
        "connection_timeout = 1\nwriting_timeout = 2\nreading_timeout = 3\nend_of_message_timeout = 4.5\n"
        "breaker_failures = 6\nbreaker_retry = 0.5\n"
    )
    config, default = directory.config(), Config(children=(ChildSettings("a", ()),))
    names = [name for name in RECORDS if name != "milters" and "." not in name]
    records = [(getattr(config, name), getattr(default, name)) for name in names]
    records.append((config.children[0], default.children[0]))
    same = [name for one, other in records for name in vars(one) if vars(one)[name] == vars(other)[name]]
    assert same == ["name"]


def test_an_empty_control_socket_is_none(directory: Directory) -> None:
    assert directory.write("[controller]\nconnection_spec =\n").config().controller.connection_spec is None


def test_several_control_sockets_are_refused(directory: Directory) -> None:
    directory.write("[controller]\nconnection_spec = unix:/a, unix:/b\n")
    assert directory.error()[:2] == (2, "controller.connection_spec")


def test_a_glance_takes_what_is_good_of_a_faulty_file(directory: Directory) -> None:
    directory.write("[manager]\nnonsense = 1\n[controller]\nconnection_spec = unix:/c\n")
    assert glance(str(directory.path)).controller.connection_spec == parse_endpoint("unix:/c")


def test_a_glance_at_nothing_gives_the_defaults() -> None:
    assert glance("/nonexistent").controller == Config().controller


def test_a_milter_has_its_values(directory: Directory) -> None:
    directory.write(A + "fallback_status = Temporary_Failure\nreading_timeout = 2.5\n")
    child = directory.child()
    assert (child.fallback_status, child.reading_timeout_s, child.writing_timeout_s, child.enabled) == (
        FallbackStatus.TEMPORARY_FAILURE,
        2.5,
        25.0,
        True,
    )


def test_milters_keep_the_order_of_the_file(directory: Directory) -> None:
    directory.write("[milters]\n" + "".join(f"[[{name}]]\nconnection_spec = unix:/{name}\n" for name in "cab"))
    assert [child.name for child in directory.config().children] == ["c", "a", "b"]


def test_a_milter_that_is_opened_again_keeps_its_place(directory: Directory) -> None:
    directory.write(A + "[[b]]\nconnection_spec = unix:/b\n")
    directory.write("[milters]\n[[c]]\nconnection_spec = unix:/c\n[[a]]\nenabled = no\n", LOCAL)
    assert [child.name for child in directory.config().children] == ["a", "b", "c"]


def test_a_milter_that_is_opened_again_keeps_its_other_values(directory: Directory) -> None:
    directory.write(A + "fallback_status = reject\nevaluation_mode = yes\n")
    directory.write("[milters]\n[[a]]\nreading_timeout = 3\n", LOCAL)
    child = directory.child()
    assert (child.fallback_status, child.evaluation_mode, child.reading_timeout_s) == (FallbackStatus.REJECT, True, 3.0)


def test_a_milter_may_get_its_socket_in_a_later_file(directory: Directory) -> None:
    directory.write("[milters]\n[[a]]\n").write(A, LOCAL)
    assert directory.child().connection_spec == (Endpoint("unix", path="/a"),)


def test_the_origin_of_a_value_is_its_file_and_line(directory: Directory) -> None:
    directory.write("\n[manager]\n# c\nchunk_size = 5\n" + A)
    origins = {key: str(origin) for key, origin in directory.config().origins.items()}
    main = directory.path / MAIN
    assert origins == {"manager.chunk_size": f"{main}:4", "milters.a.connection_spec": f"{main}:7"}


def test_the_origin_is_the_last_file_that_sets_the_value(directory: Directory) -> None:
    directory.write("[manager]\nchunk_size = 5\n").write("\n\n[manager]\nchunk_size = 6\n", LOCAL)
    assert directory.config().origins["manager.chunk_size"].line == 4


def test_the_command_line_wins(directory: Directory) -> None:
    directory.write("[manager]\nchunk_size = 5\n", LOCAL)
    assert directory.config(manager__chunk_size="6").manager.chunk_size_bytes == 6


def test_the_origin_of_the_command_line_says_so() -> None:
    origins = load(None, {"manager.chunk_size": "6"}).config.origins
    assert str(origins["manager.chunk_size"]) == "command line"


def test_a_list_on_the_command_line_stands_between_commas() -> None:
    config = load(None, {"manager.connection_spec": "inet:1, inet:2"}).config
    assert config.manager.connection_spec == (Endpoint("inet", port=1), Endpoint("inet", port=2))


def test_text_on_the_command_line_is_taken_as_it_is() -> None:
    assert load(None, {"manager.pid_file": '/a, "b" # c'}).config.manager.pid_file == '/a, "b" # c'


def test_a_milter_whose_name_has_dots_can_be_set_on_the_command_line() -> None:
    config = load(None, {"milters.a.b.connection_spec": "unix:/a"}).config
    assert [child.name for child in config.children] == ["a.b"]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("manager.chunk_size", "x", "command line: manager.chunk_size: 'x' is not a whole number"),
        (
            "manager.chunk_siz",
            "1",
            "command line: manager.chunk_siz: there is no such setting (did you mean chunk_size?)",
        ),
        ("managers.daemon", "1", "command line: managers: there is no section [managers] (did you mean manager?)"),
        ("daemon", "yes", "command line: daemon: is not a setting"),
        ("manager.", "yes", "command line: manager.: is not a setting"),
        ("milters.a", "yes", "command line: milters.a: is not a setting"),
        ("milters.a.pipelining", "no", "command line: milters.a.connection_spec: is missing"),
        ("milters.a b.enabled", "no", "command line: milters: the name 'a b' has white space"),
        ("log.path", "a\nb", "command line: log.path: 'a\\nb' has more than one line"),
        ("", "x", "command line: is not a setting"),
    ],
)
def test_a_fault_on_the_command_line_says_so(key: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        load(None, {key: value})
    assert str(caught.value).startswith(expected)


@pytest.mark.parametrize(
    ("text", "line", "key", "part"),
    [
        ("daemon = yes\n", 1, "daemon", "stands before the first section (put it below [manager])"),
        (
            "\nmanager.daemon = yes\n",
            2,
            "manager.daemon",
            "stands before the first section (write daemon below [manager])",
        ),
        ("[manager]\ndeamon = yes\n", 2, "manager.deamon", "there is no such setting (did you mean daemon?)"),
        (
            "[manager]\ndrain_timeout = 1\n",
            2,
            "manager.drain_timeout",
            "there is no such setting (put it below [workers])",
        ),
        ("[manager]\nzzz = 1\n", 2, "manager.zzz", "there is no such setting ()"),
        ("[log]\nlog.level = info\n", 2, "log.log.level", "there is no such setting (write level below [log])"),
        ("\n[manger]\nx = 1\n", 2, "manger", "there is no section [manger] (did you mean manager?)"),
        ("[clamav-milter]\nx = 1\n", 1, "clamav-milter", "(a milter is a section [[NAME]] below [milters])"),
        ("[manager]\n[[x]]\ny = 1\n", 2, "manager.x", "'x' can't be a section of [manager]"),
        (A + "[[[x]]]\ny = 1\n", 4, "milters.a.x", "'x' can't be a section of [[a]]"),
        ("[milters]\nenabled = no\n", 2, "milters.enabled", "stands outside of a milter"),
        ("[milters]\n[[a]]\npipelining = no\n", 2, "milters.a.connection_spec", "is missing"),
        ("[milters]\n[['']]\nenabled = no\n", 2, "", "has no name"),
        ("[milters]\n[[a b]]\nenabled = no\n", 2, "milters", "the name 'a b' has white space in it"),
        (A + "enable = no\n", 4, "milters.a.enable", "there is no such setting (did you mean enabled?)"),
        (A + "enabled = nope\n", 4, "milters.a.enabled", "'nope' is neither yes nor no"),
        ("[manager]\nchunk_size = 70000\n", 2, "manager.chunk_size", "'70000' is out of range (1 to 65535)"),
        ("[manager]\nchunk_size = 1, 2\n", 2, "manager.chunk_size", "'1, 2' is a list, and one value is wanted"),
        ("[manager]\nconnection_spec = /x\n", 2, "manager.connection_spec", "'/x' has no colon"),
        ("[manager]\nconnection_spec =\n", 2, "manager.connection_spec", "there is no socket address"),
        ("[manager]\nunix_socket_mode = 888\n", 2, "manager.unix_socket_mode", "'888' is not an octal mode"),
        (
            "[log]\nlevel = loud\n",
            2,
            "log.level",
            "'loud' is not one of the choices (one of error, warning, info, debug)",
        ),
        ("[log]\nsyslog_facility = mial\n", 2, "log.syslog_facility", "(did you mean mail?)"),
        ("[workers]\nn_workers = 1001\n", 2, "workers.n_workers", "'1001' is out of range (0 to 1000)"),
        ("[manager]\nn_workers = 1001\n", 2, "manager.n_workers", "'1001' is out of range (0 to 1000)"),
        (A + "reading_timeout = 0\n", 4, "milters.a.reading_timeout", "'0' is out of range"),
        (A + "applicable_conditions = S25\n", 4, "milters.a.applicable_conditions", "(did you mean S25R?)"),
        ("[log]\npath = \"'''\n", 2, "log.path", "a closing quote is missing"),
        ('[log]\npath = """a\nb"""\n', 2, "log.path", "'a\\nb' has more than one line"),
        ("[log]\npath = a\n[manager]\n[log]\n", 4, "log", "stands here for the second time, first in line 1"),
        ("[log]\npath = a\npath = b\n", 3, "log.path", "stands here for the second time, first in line 2"),
        (A + "[[a]]\nenabled = no\n", 4, "milters.a", "stands here for the second time, first in line 2"),
        ("[manager]\nwhat?\n", 2, "", "'what?' is neither a [section] nor key = value"),
        ("[manager\n", 1, "", "'[manager' is not a section"),
        ("[milters]\n[[[a]]]\n", 2, "", "is not inside a section"),
        ("[manager]\r\nchunk_size = x\r\n", 2, "manager.chunk_size", "'x' is not a whole number"),
        ("\ufeff[manager]\nchunk_size = x\n", 2, "manager.chunk_size", "'x' is not a whole number"),
    ],
)
def test_a_fault_is_reported_with_its_line_key_and_text(
    text: str, line: int, key: str, part: str, directory: Directory
) -> None:
    found = directory.write(text).error()
    assert (found[:2], part in found[2]) == ((line, key), True)


@pytest.mark.parametrize(
    ("data", "line", "part"),
    [
        (b"[manager]\npid_file = /\xe9\n", 2, "byte 0xe9 is not UTF-8 text"),
        (bytes(range(256)) * 40, 1, "there is a NUL byte"),
        (b"\x7fELF\x02\x01\x01\0\0", 1, "there is a NUL byte"),
        (b"[manager]\npid_file = " + b"x" * 100000, 2, "the line is 100011 characters long"),
        (b"x = 1\n" * 200000, 0, "is larger than 262144 bytes"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_fault(data: bytes, line: int, part: str, directory: Directory) -> None:
    found = directory.write(data).error()
    assert (found[0], part in found[2]) == (line, True)


def test_sections_nested_very_deep_are_one_fault(directory: Directory) -> None:
    text = "\n".join("[" * depth + "a" + "]" * depth for depth in range(1, 400))
    assert directory.write(text).error()[:2] == (1, "a")


def test_a_directory_in_place_of_a_file_is_a_fault(directory: Directory) -> None:
    (directory.path / MAIN).mkdir()
    assert "can't be read: Is a directory" in directory.error()[2]


def test_a_fifo_in_place_of_a_file_is_a_fault_and_no_wait(directory: Directory) -> None:
    os.mkfifo(directory.path / MAIN)
    assert "is not an ordinary file" in directory.error()[2]


def test_a_link_to_nothing_is_a_fault(directory: Directory) -> None:
    (directory.path / LOCAL).symlink_to("nowhere")
    assert "can't be read: No such file or directory" in directory.error()[2]


def test_a_file_in_place_of_the_drop_in_directory_is_a_fault(directory: Directory) -> None:
    directory.write("", "conf.d")
    assert "can't be listed: Not a directory" in directory.error()[2]


def test_a_drop_in_directory_that_can_not_be_listed_does_not_hide_other_faults(directory: Directory) -> None:
    directory.write("", "conf.d").write("x\n").write("y\n", LOCAL)
    assert directory.places() == [(MAIN, 1), (LOCAL, 1), ("conf.d", 0)]


def test_a_file_that_may_not_be_read_is_a_fault(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    directory.write("")
    monkeypatch.setattr(os, "open", refuses)
    assert "can't be read: Permission denied (look at the owner and the mode of the file)" in directory.error()[2]


def test_a_file_name_that_is_no_text_can_be_printed(directory: Directory) -> None:
    (directory.path / "conf.d").mkdir()
    Path(os.fsdecode(bytes(directory.path) + b"/conf.d/\xff\n.conf")).write_text("x")
    (error,) = directory.errors()
    assert "\n" not in str(error).encode().decode()


def test_all_faults_of_all_files_are_reported_in_order(directory: Directory) -> None:
    directory.write("[manager]\nchunk_size = x\n[milters]\n[[a]]\nnope = 1\nenabled = x\n")
    directory.write("x\n", "conf.d/1.conf")
    directory.write("[manager]\nchunk_size = y\n[bad]\n", LOCAL)
    expected = [(MAIN, 2), (MAIN, 4), (MAIN, 5), (MAIN, 6), ("1.conf", 1), (LOCAL, 2), (LOCAL, 3), ("command line", 0)]
    assert directory.places(manager__chunk_size="z") == expected


def test_faults_between_settings_are_reported_with_the_others(directory: Directory) -> None:
    directory.write("[manager]\nconnection_spec = unix:/a\nchunk_size = x\n" + A)
    assert directory.places() == [(MAIN, 3), (MAIN, 6)]


def test_a_bad_socket_of_a_milter_is_not_a_missing_one_too(directory: Directory) -> None:
    assert directory.write("[milters]\n[[a]]\nconnection_spec = x\n").places() == [(MAIN, 3)]


def test_an_unreadable_socket_of_a_milter_is_not_a_missing_one_too(directory: Directory) -> None:
    assert directory.write('[milters]\n[[a]]\nconnection_spec = "x\n').places() == [(MAIN, 3)]


def test_a_loop_with_a_listener_that_was_refused_is_not_reported(directory: Directory) -> None:
    default = "unix:/run/milter-manager/milter-manager.sock"
    directory.write(f"[manager]\nconnection_spec = x\n[milters]\n[[a]]\nconnection_spec = {default}\n")
    assert directory.places() == [(MAIN, 2)]


def test_an_offending_text_is_cut(directory: Directory) -> None:
    assert len(directory.write("[manager]\nchunk_size = " + "x" * 8000).error()[2]) < 250


def test_an_offending_key_is_cut(directory: Directory) -> None:
    assert len(directory.write("[manager]\n" + "x" * 8000 + " = 1\n").error()[1]) == 200


@pytest.mark.parametrize("body", ['"unix:/a", ', "unix:/a  ,  ", "'unix:/a', "])
def test_a_long_list_is_read_at_once(body: str, directory: Directory) -> None:
    directory.write("[milters]\n[[a]]\nconnection_spec = " + body * 600 + 'unix:/b  # comment, "quoted"\n')
    assert len(directory.child().connection_spec) == 601


@pytest.mark.parametrize("value", ["%(daemon)s", "$daemon", "${manager:daemon}"])
def test_nothing_is_interpolated(value: str, directory: Directory) -> None:
    assert directory.write(f"[manager]\npid_file = {value}\n").config().manager.pid_file == value


def test_workers_of_the_manager_count(directory: Directory) -> None:
    result = directory.write("[manager]\nn_workers = 4\n").load()
    expected = f"{directory.path / MAIN}:2: manager.n_workers: is n_workers of [workers] now"
    assert (result.config.workers.n_workers, result.warnings) == (4, (expected,))


def test_workers_of_the_manager_have_their_origin(directory: Directory) -> None:
    assert directory.write("[manager]\nn_workers = 4\n").config().origins["workers.n_workers"].line == 2


def test_workers_count_rather_than_those_of_the_manager(directory: Directory) -> None:
    directory.write("[workers]\nn_workers = 3\n").write("[manager]\nn_workers = 4\n", LOCAL)
    assert directory.config().workers.n_workers == 3


IGNORED = [s for keys in spec().sections.values() for s in keys.values() if s.kind == "ignored"]


@pytest.mark.parametrize("setting", IGNORED, ids=lambda setting: f"{setting.section}.{setting.key}")
def test_a_key_without_meaning_is_a_warning(setting: Setting, directory: Directory) -> None:
    key, section = setting.key, setting.section
    text = A + f"{key} = x, y\n" if section == "milters" else f"[{section}]\n\n\n{key} = x, y\n"
    (warning,) = directory.write(text).load().warnings
    assert f"{MAIN}:4: {section}{'.a' if section == 'milters' else ''}.{key}: is ignored (" in warning


@pytest.mark.parametrize("section", ["status", "database"])
def test_a_key_of_a_reserved_section_is_a_warning(section: str, directory: Directory) -> None:
    directory.write(f"[{section}]\nx = 1\n[[y]]\nz = 1\n")
    expected = [
        f"{MAIN}:2: {section}.x: not used by this version",
        f"{MAIN}:4: {section}.y.z: not used by this version",
    ]
    assert [Path(warning).name for warning in directory.load().warnings] == expected


def test_an_empty_reserved_section_is_no_warning(directory: Directory) -> None:
    assert directory.write("[status]\n").load().warnings == ()


def test_a_milter_that_is_switched_off_need_not_say_where_it_listens(directory: Directory) -> None:
    assert directory.write("[milters]\n[[a]]\nenabled = no\n").child().connection_spec == ()


def test_conditions_reach_the_child_and_are_ready_to_be_asked(directory: Directory) -> None:
    result = directory.write(A + "applicable_conditions = S25R, Trust\n").load()
    assert (result.warnings, result.config.children[0].applicable_conditions) == ((), ("S25R", "Trust"))
    assert {"S25R", "Trust"} <= result.config.compiled.keys()


def test_the_warnings_of_a_good_configuration_are_none(directory: Directory) -> None:
    assert directory.write(A).load().warnings == ()


FRAGMENTS = [
    "[manager]\n",
    "[milters]\n",
    "[[a]]\n",
    "connection_spec = ",
    "unix:/a",
    "enabled = ",
    "yes",
    "\n",
    "\n",
    "x",
]
FRAGMENTS += ["[", "]", '"', "'''", ",", "=", "#", "\0", "\xff", "[controller]\n", "[[[", "manager.", "n_workers = 3\n"]


@given(st.binary(max_size=100) | st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(lambda f: "".join(f).encode()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_file_is_a_configuration_or_a_list_of_faults(directory: Directory, data: bytes) -> None:
    faults = []
    try:
        directory.write(data).load()
    except ConfigErrors as error:
        faults = error.errors
    assert all(str(fault).isprintable() for fault in faults)


MAIN_CF = "# ours\nmilter_command_timeout = 10s\nmilter_content_timeout = 3600s\n"


def late(directory: Directory, tmp_path: Path, main_cf: str) -> list[str]:
    """What is said of a child's deadlines with this main.cf in the tree."""
    (tmp_path / "tree/etc/postfix").mkdir(parents=True)
    (tmp_path / "tree/etc/postfix/main.cf").write_text(main_cf)
    directory.write("[milters]\n[[a]]\nconnection_spec = unix:/a\nreading_timeout = 20\nend_of_message_timeout = 400\n")
    found = load(str(directory.path), None, str(tmp_path / "tree")).warnings
    return [one for one in found if "Postfix waits" in one and "writing" not in one]


def test_deadlines_are_compared_with_what_main_cf_says(directory: Directory, tmp_path: Path) -> None:
    (told,) = late(directory, tmp_path, MAIN_CF)
    wanted = "20 seconds are not below the 10 that Postfix waits (/etc/postfix/main.cf:2: milter_command_timeout)"
    assert wanted in told


def test_deadlines_are_compared_with_the_defaults_where_main_cf_says_nothing(
    directory: Directory, tmp_path: Path
) -> None:
    (told,) = late(directory, tmp_path, "milter_command_timeout = soon\n")
    assert "400 seconds are not below the 300 that Postfix waits (" in told
