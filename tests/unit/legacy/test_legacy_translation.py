"""``mmgr.legacy.translation``: what each statement of an old configuration becomes, and what is reported instead."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmgr.config.model import FallbackStatus
from mmgr.endpoint import parse_endpoint
from mmgr.legacy import rendering

from .conftest import Load, Translate

MY = 'define_milter("my") do |m|\n  m.connection_spec = "inet:11120@localhost"\n'
ON_DISK = {
    "milter-manager.conf": (
        'load("applicable-conditions/*.conf")\nload_default\nload_if_exist("milter-manager.local.conf")\n'
    ),
    "applicable-conditions/s25r.conf": "class Anything; end\n",
    "milter-manager.local.conf": MY + "end\n",
}

VALUES = [
    ('manager.connection_spec = "inet:10025@localhost"', "connection_spec = inet:10025@localhost"),
    ("manager.unix_socket_mode = 0660", "unix_socket_mode = 0660"),
    ("manager.unix_socket_group = 'postfix'", "unix_socket_group = postfix"),
    ("manager.remove_unix_socket_on_close = false", "remove_unix_socket_on_close = no"),
    ("manager.fallback_status = :temporary_failure", "fallback_status = temporary-failure"),
    ("manager.chunk_size = 65_535", "chunk_size = 65535"),
    ("manager.n_workers = 4", "[workers]\n# from local.conf:1\nn_workers = 4"),
    ('package.options = "prefix=/usr/pkg,rcddir=/x"', "options = prefix=/usr/pkg, rcddir=/x"),
    ('log.level = "debug"', "level = debug"),
    ('manager.pid_file = "/run/a # b.pid"', 'pid_file = "/run/a # b.pid"'),
    ("stress.threshold_n_connections = 75", "stress_threshold = 75"),
    ('dnsbl.name_servers = ["192.0.2.1", "2001:db8::1"]', "dns_name_servers = 192.0.2.1, 2001:db8::1"),
    ('dnsbl.name_server = "192.0.2.1"', "dns_name_servers = 192.0.2.1"),
    ("s25r.check_only_ipv4 = false", "only_check_ipv4 = no"),
    ("s25r.only_check_ipv4 = true", "only_check_ipv4 = yes"),
    (r"s25r.add_whitelist(/\.partner\.example\z/)", ", .sendgrid.net, .partner.example\n"),
    ('s25r.add_blacklist "mail.example"', "blacklist = mail.example"),
    ('s25r.add_blacklist("[192.0.2.1]")', r'blacklist = "/\A\[192\.0\.2\.1\]\Z/"'),
    ('remote_network.add_local_address("203.0.113.7/24")', "local_addresses = 203.0.113.0/24"),
    ('remote_network.add_remote_address("10.0.0.1")', "remote_addresses = 10.0.0.1"),
    ('trust.add_envelope_from_domain("example.com")', "docomo.ne.jp, clear-code.com, example.com\n"),
    ('trust.clear\ntrust.add_envelope_from_domain("a.example")', "envelope_from_domains = a.example"),
    ("trust.clear", 'envelope_from_domains = ""'),
    ('dnsbl.add_service("bl.example", "127.0.0.2")', "b.barracudacentral.org=127.0.0.2, bl.example=127.0.0.2"),
    (MY + "  m.reading_timeout = 12.5\nend", "reading_timeout = 12.5"),
    (MY + "  m.connection_timeout = 297\nend", "# not below the 30 seconds that Postfix waits"),
    (MY + "  m.enabled = false\nend", "enabled = no"),
    (MY + '  m.description = "it\'s, \\"mine\\""\nend', "description = "),
    (MY + '  m.add_applicable_condition("S25R")\nend', "applicable_conditions = S25R"),
    (MY + '  m.applicable_conditions = ["S25R", "Trust"]\nend', "applicable_conditions = S25R, Trust"),
    (MY + '  m.applicable_conditions = %w[S25R]\n  m.applicable_conditions -= ["S25R"]\nend', 'conditions = ""'),
    (MY + '  m.applicable_conditions += ["S25R"]\nend', "applicable_conditions = S25R"),
    (MY + '  m.applicable_conditions = ["S25R"]\n  m.remove_applicable_condition("S25R")\nend', 'conditions = ""'),
    ('define_milter("my") { |m| m.connection_spec = "unix:/var/run/x" }', "connection_spec = unix:/var/run/x"),
    (MY + 'end\nrestrict_accounts_by_list("a@b.example", /@c\\.example\\z/)', "accounts = a@b.example, @c.example"),
    (MY + 'end\nrestrict_accounts_by_list("a@b", condition_name: "X", milters: ["my"])', "applicable_conditions = X"),
    (MY + 'end\nrestrict_accounts_by_list("a@b", :condition_name => "X", "milters" => ["my"])', "[[X]]"),
]

LEFT = [
    ("manager.connection_spec = ENV['X']", "is computed"),
    ('manager.connection_spec = "inet:#{port}"', "is computed"),
    ('manager.connection_spec = "bogus"', "colon"),
    ('manager.conection_spec = "inet:1@h"', "did you mean connection_spec?"),
    ('manager.unix_socket_mode = "0660"', "not a whole number"),
    ("manager.daemon = 1", "not true or false"),
    ("manager.n_workers = true", "not a whole number"),
    ("manager.n_workers = 5000", "out of range"),
    ('log.level = "critical|error"', "not one of the choices"),
    ('log.level = "all"', "debug is nearest"),
    ("manager.daemon = true if Process.uid == 0", "depends on a Ruby condition"),
    ("if Process.uid == 0\n manager.daemon = true\nend", "depends on a Ruby condition"),
    ("3.times { |i| define_milter(i) }", "is computed"),
    ("for i in 1..3 do\n x\nend", "loop"),
    ("spec = 'inet:1@h'", "Ruby variable"),
    ("def helper\nend", "Ruby method"),
    ("class X\nend", "Ruby code"),
    ("require 'socket'", "loads Ruby code"),
    ("exit", "rest of the file"),
    ("database.type = 'mysql'", "no database"),
    ("database.setup", "no database"),
    ("define_policy('x') { |p| p.milters << 'a' }", "no policies"),
    ("manager.maintained do\nend", "inside the daemon"),
    ("manager.event_loop_created { |l| l }", "inside the daemon"),
    ("manager.define_connection_checker('x') { |c| true }", "inside the daemon"),
    ("restrict_accounts_generic({}) { |c, r| true }", "Ruby block"),
    ("s25r.add_whitelist do |host| host end", "Ruby block"),
    ('s25r.add_whitelist(".example.com")', "never matched"),
    ("s25r.add_whitelist(/[[:alpha:]]/)", "no equal"),
    ('remote_network.add_local_address("nowhere")', "no address"),
    ("stress.threshold_n_connections = 0", "never any stress"),
    ('dnsbl.add_service("not a zone")', "zone"),
    ("".join(f'dnsbl.add_service("bl{number}.example")\n' for number in range(6)), "too many"),
    ('manager.envelope_dispatch = "parallel"', "had no such setting"),
    ('trust.load_envelope_from_domains("none.list")', "no such file"),
    ('load("none.conf")', "no such file"),
    ("load(name)", "is computed"),
    ('define_milter("a b") { |m| }', "white space"),
    ('define_milter("my")', "no block"),
    (MY + "  next if x\nend", "where its block ends"),
    (MY + '  m.add_applicable_condition("Nonsense")\nend', "no condition Nonsense"),
    (MY + "  m.target_hosts = []\nend", "no setting target_hosts"),
    (MY + '  m.reading_timeout = "7"\nend', "not a number"),
    (MY + "  m.start\nend", "has no start"),
    ('define_milter("detected") { |m| m.add_applicable_condition("S25R") }', "not known here"),
    (MY + "end\ndefined_milters.each { |n| next if n == 'my'\n remove_milter(n) }", "condition decides"),
    ('define_applicable_condition("X") { |c| c.description = "x" }', "--show-config never does"),
    ('define_applicable_condition("S25R") { |c| c.define_connect_stopper { |a, b| b == "x" } }', "built in"),
    ('define_applicable_condition("X") { |c| c.define_data_stopper { |a| true } }', "define_data_stopper"),
    ('define_applicable_condition("X") { |c| x = 1 }', "Ruby"),
    ("hello world", "computed"),
    ("frobnicate", "frobnicate is not known"),
    ("Milter::Logger.info('x')", "not known"),
    ("<?xml version='1.0'?>", "XML"),
    ("# ours\n[manager]\ndaemon = yes", "configuration of this program already"),
    ("x = 'open", "nothing of this file is translated"),
    ('manager.pid_file = "\udc80"', "not UTF-8"),
]

NOTED = [
    ('manager.event_loop_backend = "libev"', "one event loop"),
    ("manager.max_connections = 10", "number of workers"),
    ("security.privilege_mode = true", "systemd"),
    ("manager.use_netstat_connection_checker", "MTA's own connection"),
    ("manager.report_memory_statistics", "max_memory"),
    ("load_default", "found by this program"),
    (MY + '  m.command = "/etc/init.d/my"\n  m.command_options = ["start"]\nend', "systemd"),
    (MY + "  m.fallback_status = 'reject'\nend\n" + MY + "end", "reset its fallback_status"),
    (MY + "end\n" + MY.replace("my", "b") + "end\n" + MY + "end", "moved it behind the others"),
    ('define_milter("clamav-milter") { |m| m.fallback_status = "reject" }', "where it listens is not said"),
]

NOTHING = [
    "",
    "# only a comment",
    "manager.pid_file = nil",
    "database.type = nil",
    'load_if_exist("none.conf")',
    'define_applicable_condition("S25R") { |c| c.description = "Selective SMTP Rejection" }',
    "# default\nmanager.unix_socket_mode = 0660",
    '# default\nlog.level = "default"',
]


@pytest.mark.parametrize(("text", "expected"), VALUES)
def test_a_statement_becomes_a_setting(translate: Translate, text: str, expected: str) -> None:
    assert expected in rendering.text(translate(text), "x")


@pytest.mark.parametrize("text", [text for text, _ in VALUES])
def test_what_becomes_a_setting_leaves_nothing_and_reads_back(translate: Translate, load_back: Load, text: str) -> None:
    files = {"milter-manager.conf": text}
    draft = translate(files=files)
    assert draft.left == []
    load_back(draft)


@pytest.mark.parametrize(("text", "reason"), LEFT)
def test_what_has_no_equal_is_listed_with_its_line_and_reason(translate: Translate, text: str, reason: str) -> None:
    draft = translate(f"\n{text}\n")
    found = [finding for finding in draft.left if reason in finding.reason]
    assert [finding.place.path for finding in found] == ["local.conf"]
    assert 2 <= found[0].place.line <= text.count("\n") + 2


@pytest.mark.parametrize(("text", "reason"), LEFT)
def test_what_has_no_equal_stands_in_the_output_as_a_comment(translate: Translate, text: str, reason: str) -> None:
    lines = rendering.text(translate(text), "x").splitlines()
    assert any(line.startswith("# NOT TRANSLATED: local.conf:") and reason in line for line in lines)


@pytest.mark.parametrize(("text", "reason"), NOTED)
def test_what_is_not_needed_is_noted_and_not_left(translate: Translate, text: str, reason: str) -> None:
    draft = translate(text)
    assert (draft.left, any(reason in finding.reason for finding in draft.findings)) == ([], True)


@pytest.mark.parametrize("text", NOTHING)
def test_what_says_nothing_becomes_nothing(translate: Translate, text: str) -> None:
    draft = translate(f"{text}\n")
    assert (list(draft.findings), list(draft.sections)) == ([], [()])


# ---- milters


def test_a_second_definition_merges_and_stays_in_its_place(translate: Translate, load_back: Load) -> None:
    again = 'define_milter("a") { |m| m.evaluation_mode = true }\n'
    first = "".join(f'define_milter("{name}") {{ |m| m.connection_spec = "unix:/{name}" }}\n' for name in "ab")
    children = load_back(translate(first + again)).config.children
    assert [(child.name, child.evaluation_mode) for child in children] == [("a", True), ("b", False)]


def test_a_removed_milter_is_switched_off(translate: Translate, load_back: Load) -> None:
    (child,) = load_back(translate(MY + 'end\nremove_milter("my")\n')).config.children
    assert child.enabled is False


def test_a_milter_that_is_defined_after_its_removal_is_new(translate: Translate, load_back: Load) -> None:
    again = 'define_milter("my") { |m| m.connection_spec = "unix:/new" }\n'
    (child,) = load_back(translate(MY + 'm.evaluation_mode = true\nend\nremove_milter("my")\n' + again)).config.children
    assert (child.enabled, child.evaluation_mode, child.connection_spec) == (
        True,
        False,
        (parse_endpoint("unix:/new"),),
    )


def test_nil_takes_a_value_back(translate: Translate, load_back: Load) -> None:
    (child,) = load_back(
        translate(MY + "  m.fallback_status = 'reject'\n  m.fallback_status = nil\nend")
    ).config.children
    assert child.fallback_status is FallbackStatus.ACCEPT


def test_a_loop_over_the_milters_is_for_those_that_are_defined_before_it(translate: Translate) -> None:
    loop = (
        'defined_milters.each do |n|\n  define_milter(n) do |m|\n    m.add_applicable_condition("S25R")\n  end\nend\n'
    )
    draft = translate(files={"milter-manager.conf": MY + "end\n" + loop + MY.replace("my", "late") + "end\n"})
    found = {name: draft.items(("milters", name), "applicable_conditions") for name in draft.children()}
    assert (found, draft.left) == ({"my": ["S25R"], "late": []}, [])


def test_a_loop_is_left_for_milters_that_the_machine_may_have(translate: Translate) -> None:
    loop = "load_default\ndefined_milters.each { |n| define_milter(n) { |m| m.enabled = false } }\n"
    (left,) = translate(files={"milter-manager.conf": loop}).left
    assert "milters that are found on the machine" in left.reason


def test_conditions_are_taken_from_a_milter_that_the_machine_may_have(translate: Translate) -> None:
    draft = translate('define_milter("spamass-milter") { |m| m.applicable_conditions -= ["No Stress"] }\n')
    assert draft.items(("milters", "spamass-milter"), "applicable_conditions") == ["Remote Network", "Unauthenticated"]


def test_a_milter_without_a_socket_is_switched_off_where_none_is_found(translate: Translate, load_back: Load) -> None:
    draft = translate(files={"milter-manager.conf": 'define_milter("my") { |m| m.evaluation_mode = true }\n'})
    assert len(draft.left) == 1
    assert load_back(draft).config.children[0].enabled is False


def test_a_milter_whose_condition_is_lost_is_reported(translate: Translate) -> None:
    lost = 'define_applicable_condition("X") { |c| c.define_connect_stopper { |a, b| magic(b) } }\n'
    left = translate(lost + MY + '  m.add_applicable_condition("X")\nend\n').left
    assert [finding.place.line for finding in left] == [1, 4]


def test_an_own_condition_can_be_applied(translate: Translate, load_back: Load) -> None:
    own = 'define_applicable_condition("X") { |c| c.define_connect_stopper { |a, b| b == "localhost" } }\n'
    draft = translate(own + MY + '  m.add_applicable_condition("X")\nend\n')
    assert load_back(draft).config.children[0].applicable_conditions == ("X",)


def test_dnsbl_conditions_ask_what_they_asked(translate: Translate, load_back: Load) -> None:
    draft = translate(MY + '  m.add_applicable_condition("Not DNSBL Listed")\nend\n')
    assert "zen.spamhaus.org=127.0.0.10/31" in draft.items(("conditions", "DNSBL Listed"), "services")
    load_back(draft)


def test_trusted_domains_of_a_file_are_copied(translate: Translate) -> None:
    files = {
        "milter-manager.conf": 'trust.clear\ntrust.load_envelope_from_domains("trusted.list")\n',
        "trusted.list": "# comment\n\na.example\n/\\.B\\.example\\z/\n/[[:alpha:]]/\n",
    }
    draft = translate(files=files)
    assert draft.items(("conditions", "Trust"), "envelope_from_domains") == ["a.example", ".B.example"]
    assert [str(left.place) for left in draft.left] == ["trusted.list:5"]


def test_a_long_list_reads_back(translate: Translate, load_back: Load) -> None:
    names = [f"host{number}.example" for number in range(1000)]
    draft = translate("".join(f's25r.add_blacklist("{name}")\n' for name in names))
    assert load_back(draft).config.conditions.built_in["S25R"].blacklist == tuple(names)  # type: ignore[attr-defined]


def test_a_password_is_not_repeated(translate: Translate) -> None:
    assert "secret" not in rendering.text(translate('database.password = "secret"'), "x")


# ---- files


def test_a_directory_is_followed_from_its_main_file(translate: Translate) -> None:
    draft = translate(files=ON_DISK)
    assert (draft.children(), draft.left) == (["my"], [])


def test_places_name_the_file_that_was_loaded(translate: Translate) -> None:
    assert "# from milter-manager.local.conf:2\nconnection_spec" in rendering.text(translate(files=ON_DISK), "x")


def test_the_files_of_the_shipped_conditions_are_not_read(translate: Translate) -> None:
    assert translate(files={**ON_DISK, "applicable-conditions/trust.conf": None}).left == []


def test_a_condition_of_ones_own_beside_the_shipped_ones_is_read(translate: Translate) -> None:
    files = {**ON_DISK, "applicable-conditions/own.conf": "frobnicate\n"}
    assert [str(left.place) for left in translate(files=files).left] == ["applicable-conditions/own.conf:1"]


def test_a_file_that_loads_itself_is_read_once(translate: Translate) -> None:
    (left,) = translate(files={"milter-manager.conf": 'load("milter-manager.conf")\n'}).left
    assert "loads itself" in left.reason


def test_two_files_that_load_each_other_end(translate: Translate) -> None:
    files = {"milter-manager.conf": 'load("a")\nload("a")\n', "a": 'load("b")\nload("b")\n', "b": 'load("a")\n'}
    assert {left.reason for left in translate(files=files).left} == {"a loads itself"}


def test_files_that_multiply_are_read_up_to_a_limit(translate: Translate) -> None:
    files = {f"f{depth}": f'load("f{depth + 1}")\n' * 3 for depth in range(12)}
    files["f12"] = ""
    (*_, left) = translate(files={**files, "milter-manager.conf": 'load("f0")\n'}).left
    assert "too many files" in left.reason


def test_a_file_that_cannot_be_read_is_left(translate: Translate) -> None:
    (left,) = translate(files={"milter-manager.conf": 'load("a")\n', "a": None}).left
    assert (str(left.place), left.reason) == ("a:0", "can't be read: it is a test")


def test_the_files_of_the_control_interface_are_left(translate: Translate) -> None:
    (left,) = translate(files={"milter-manager.conf": "", "milter-manager.custom.conf": "<configuration>"}).left
    assert "XML" in left.reason


# ---- the output of --show-config

SHOWN = """\
# default
package.platform = "redhat9"
# /usr/lib/defaults/redhat.conf:10
security.privilege_mode = true
# default
manager.connection_spec = "inet:10025@localhost"
# /etc/milter-manager/milter-manager.local.conf:3
manager.unix_socket_mode = 0600
# default
manager.fallback_status = "accept"

# /etc/milter-manager/applicable-conditions/s25r.conf:70
define_applicable_condition("S25R") do |condition|
  # /etc/milter-manager/applicable-conditions/s25r.conf:71
  condition.description = "Selective SMTP Rejection"
end

# /usr/lib/detector.rb:35
define_milter("spamass-milter") do |milter|
  # /usr/lib/detector.rb:43
  milter.connection_spec = "unix:/run/spamass.sock"
  # default
  milter.description = nil
  # default
  milter.enabled = true
  milter.applicable_conditions = [
    # /etc/milter-manager/defaults/redhat.conf:20
    "Remote Network",
    # default
    "S25R",
  ]
  # default
  milter.connection_timeout = 297.0
  # /etc/milter-manager/milter-manager.local.conf:5
  milter.reading_timeout = 20.0
end

# default
define_milter("clamav-milter") do |milter|
  # /usr/lib/detector.rb:43
  milter.connection_spec = "unix:/run/clamav.sock"
  # default
  milter.applicable_conditions = []
end
"""


def test_shown_configuration_is_translated_without_its_defaults(translate: Translate, load_back: Load) -> None:
    draft = translate(SHOWN)
    config = load_back(draft).config
    assert draft.left == []
    assert [(child.name, child.applicable_conditions) for child in config.children] == [
        ("spamass-milter", ("Remote Network", "S25R")),
        ("clamav-milter", ()),
    ]
    assert sorted(key for key in config.origins if not key.startswith("package.")) == [
        "manager.connection_spec",
        "manager.unix_socket_mode",
        "milters.clamav-milter.connection_spec",
        "milters.spamass-milter.applicable_conditions",
        "milters.spamass-milter.connection_spec",
        "milters.spamass-milter.reading_timeout",
    ]


def test_shown_places_are_kept(translate: Translate) -> None:
    text = rendering.text(translate(SHOWN), "x")
    assert re.search(r"# from /etc/milter-manager/milter-manager.local.conf:3 \(.*\)\nunix_socket_mode = 0600", text)


# ---- anything

NAMES = st.sampled_from(["a", "b-c", "spamass-milter", "x y", "", "\u00e9", 'q"'])
WORDS = st.sampled_from(
    ['"text"', "'x'", "0660", "12.5", "true", "nil", ":sym", "/re/", "[1]", '["S25R"]', "x", '"a#{b}"']
)
KEYS = st.sampled_from(
    ["manager.connection_spec", "manager.unix_socket_mode", "log.level", "m.enabled", "m.applicable_conditions"]
    + ["m.connection_spec", "m.description", "stress.threshold_n_connections", "database.type", "x", "m.command"]
)
VERBS = st.sampled_from(
    [
        "load",
        "load_if_exist",
        "remove_milter",
        "s25r.add_whitelist",
        "trust.add_envelope_from_domain",
        "dnsbl.add_service",
    ]
    + ["restrict_accounts_by_list", "remote_network.add_local_address", "m.add_applicable_condition", "exit", "m.start"]
)
SIMPLE = st.one_of(
    st.builds("{} = {}".format, KEYS, WORDS),
    st.builds("{} -= {}".format, KEYS, WORDS),
    st.builds("{}({})".format, VERBS, WORDS),
    st.builds("{}({!r})".format, VERBS, NAMES),
    st.just("load_default"),
    st.just("next"),
)
FILES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds("define_milter({!r}) do |m|\n{}\nend".format, NAMES, inner),
        st.builds("define_applicable_condition({!r}) do |m|\n{}\nend".format, NAMES, inner),
        st.builds("defined_milters.each do |n|\n{}\nend".format, inner),
        st.builds("if x\n{}\nend".format, inner),
        st.lists(inner, min_size=2, max_size=4).map("\n".join),
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(FILES | st.text(max_size=80))
def test_any_file_is_translated_or_reported_in_one_line_each(translate: Translate, text: str) -> None:
    draft = translate(f"{text}\n")
    assert all(str(finding).isprintable() for finding in draft.findings)
    rendering.text(draft, "x").encode("utf-8")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(FILES)
def test_the_output_for_any_directory_reads_back(translate: Translate, load_back: Load, text: str) -> None:
    draft = translate(files={"milter-manager.conf": text.replace("load_default", "exit")})
    load_back(draft)
