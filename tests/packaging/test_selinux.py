"""What the SELinux module lets the daemon and the MTAs do, and what it does not: each asked of the linked policy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selinux_lab import MODULE, ROOT, Policy, absent, base_policy

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(600)]

DAEMON = "milter_manager_t"
UNCONFINED, NAMES, PORTS, AS_ROOT = (
    f"milter_manager_{name}" for name in ("connect_unconfined", "resolve_names", "use_any_port", "start_as_root")
)
MTAS = ("postfix_smtpd_t", "postfix_cleanup_t", "sendmail_t")
WRITING = ("write", "append", "create", "unlink", "rename", "link", "setattr")
EL9, EL10 = "/run /var/run", "/var/run /run"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The policy without our module."""
    if missing := absent():
        pytest.skip(f"not here: {', '.join(missing)}")
    return base_policy(tmp_path_factory.mktemp("selinux"))


@pytest.fixture(scope="session")
def policy(base: Policy, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The policy with our module, and with nothing in it that the base policy forbids for good."""
    made = base.copy(tmp_path_factory.mktemp("selinux") / "store")
    made.change("-X", "200", "-i", str(MODULE))
    return made


def targets(policy: Policy, object_class: str, *permissions: str) -> set[str]:
    """What the daemon may do this with, with all booleans as they may be."""
    return {rule.target for rule in policy.rules(DAEMON, object_class, *permissions)}


# ---- it is loaded


def test_the_rpm_loads_the_module_by_its_name() -> None:
    spec = (ROOT / "packaging/rpm/milter-manager.spec").read_text("utf-8")
    assert re.search(rf"-i \S+/{MODULE.name}\b", spec)


def test_the_rpm_removes_the_module_by_its_name() -> None:
    spec = (ROOT / "packaging/rpm/milter-manager.spec").read_text("utf-8")
    assert re.search(rf"-r {MODULE.stem}\b", spec)


def test_nothing_is_granted_that_the_base_policy_forbids_for_good(base: Policy, tmp_path: Path) -> None:
    strict = base.copy(tmp_path / "store")
    strict.check_what_is_never_allowed()
    strict.change("-X", "200", "-i", str(MODULE))


def test_a_grant_that_the_base_policy_forbids_would_be_found(base: Policy, tmp_path: Path) -> None:
    strict = base.copy(tmp_path / "store")
    strict.check_what_is_never_allowed()
    module = tmp_path / MODULE.name
    module.write_text(MODULE.read_text() + f"(allow {DAEMON} shadow_t (file (read)))\n")
    with pytest.raises(AssertionError, match="neverallow"):
        strict.change("-X", "200", "-i", str(module))


def test_it_loads_where_the_modules_of_postfix_and_milters_were_switched_off(base: Policy, tmp_path: Path) -> None:
    switched_off = base.copy(tmp_path / "store")
    switched_off.change("-d", "postfix", "-d", "milter", "-d", "dkim")  # dkim is a part of milter on EL
    switched_off.change("-X", "200", "-i", str(MODULE))
    assert switched_off.transition("init_t", "milter_manager_exec_t") == DAEMON


def test_postfix_reaches_it_once_those_modules_are_on_again(policy: Policy, tmp_path: Path) -> None:
    again = policy.copy(tmp_path / "store")
    again.change("-d", "postfix", "-d", "milter", "-d", "dkim")
    again.change("-e", "postfix", "-e", "milter", "-e", "dkim")
    assert again.allows("postfix_smtpd_t", DAEMON, "unix_stream_socket", "connectto")


def test_docs_name_every_boolean() -> None:
    booleans = set(re.findall(r"\(boolean (\w+) ", MODULE.read_text()))
    assert booleans == set(re.findall(r"`(milter_manager_\w+)` \| o", (ROOT / "docs/selinux.md").read_text("utf-8")))


# ---- labels


@pytest.mark.parametrize("same", [EL9, EL10])
@pytest.mark.parametrize(
    ("path", "kind", "label"),
    [
        ("/usr/sbin/milter-manager", "file", "milter_manager_exec_t"),
        ("/usr/libexec/milter-manager/milter-manager", "file", "milter_manager_exec_t"),
        ("/usr/libexec/milter-manager/join-groups", "file", "bin_t"),
        ("/usr/bin/milter-managerctl", "file", "bin_t"),
        ("/usr/lib64/milter-manager/vendor/psutil/_psutil_linux.abi3.so", "file", "lib_t"),
        ("/etc/milter-manager/milter-manager.conf", "file", "milter_manager_etc_t"),
        ("/run/milter-manager", "dir", "milter_manager_data_t"),
        ("/var/run/milter-manager/milter-manager.sock", "socket", "milter_manager_data_t"),
        ("/var/log/milter-manager/milter-manager.log", "file", "milter_manager_log_t"),
    ],
)
def test_labels_fit_where_the_package_puts_things(policy: Policy, path: str, kind: str, label: str, same: str) -> None:
    assert policy.label(path, kind, same, "/usr/lib64 /usr/lib") == label


# ---- it is started


def test_systemd_starts_it_in_its_own_domain(policy: Policy) -> None:
    assert policy.transition("init_t", "milter_manager_exec_t") == DAEMON


def test_systemd_may_start_it(policy: Policy) -> None:
    assert policy.allows("init_t", DAEMON, "process", "transition", "rlimitinh", "signal", "sigkill")


def test_no_new_privileges_does_not_keep_it_out_of_its_domain(policy: Policy) -> None:
    assert policy.allows("init_t", DAEMON, "process2", "nnp_transition", "nosuid_transition")


def test_it_is_entered_by_its_launcher_alone(policy: Policy) -> None:
    assert targets(policy, "file", "entrypoint") == {"milter_manager_exec_t"}


@pytest.mark.parametrize("source", ["init_t", "systemd_tmpfiles_t"])
def test_its_directory_in_run_may_be_made(policy: Policy, source: str) -> None:
    assert policy.allows(source, "milter_manager_data_t", "dir", "create", "setattr", "relabelto")


def test_systemd_may_hold_its_socket(policy: Policy) -> None:
    assert policy.allows("init_t", DAEMON, "unix_stream_socket", "create", "bind", "listen", "setopt")


@pytest.mark.parametrize(
    ("target", "permissions"),
    [
        ("milter_manager_exec_t", ("read", "execute", "execute_no_trans")),
        ("shell_exec_t", ("read", "execute", "map")),
        ("bin_t", ("read", "execute", "execute_no_trans", "map")),
        ("lib_t", ("read", "execute", "map")),
    ],
)
def test_the_launcher_gets_to_python(policy: Policy, target: str, permissions: tuple[str, ...]) -> None:
    assert policy.allows(DAEMON, target, "file", *permissions)


def test_it_may_tell_systemd_that_it_is_ready(policy: Policy) -> None:
    assert policy.allows(DAEMON, "init_t", "unix_dgram_socket", "sendto")
    assert policy.allows(DAEMON, "init_var_run_t", "sock_file", "write")


def test_it_logs_to_syslog(policy: Policy) -> None:
    assert policy.allows(DAEMON, "syslogd_t", "unix_dgram_socket", "sendto")
    assert policy.allows(DAEMON, "devlog_t", "sock_file", "write")


def test_what_it_writes_to_standard_error_reaches_the_journal(policy: Policy) -> None:
    assert policy.allows(DAEMON, "init_t", "unix_stream_socket", "write")


# ---- MTAs reach it


@pytest.mark.parametrize("mta", MTAS)
def test_an_mta_may_connect_to_its_unix_socket(policy: Policy, mta: str) -> None:
    assert policy.allows(mta, DAEMON, "unix_stream_socket", "connectto")
    assert policy.allows(mta, "milter_manager_data_t", "sock_file", "write")
    assert policy.allows(mta, "milter_manager_data_t", "dir", "search")
    assert policy.allows(mta, "var_run_t", "dir", "search")


@pytest.mark.parametrize("mta", MTAS)
def test_without_the_module_an_mta_may_not_use_the_socket_of_a_service_without_a_policy(base: Policy, mta: str) -> None:
    assert not base.allows(mta, "var_run_t", "sock_file", "write")


@pytest.mark.parametrize("port", ["milter_port_t", "unreserved_port_t", "amavisd_send_port_t"])
def test_it_may_listen_on_tcp(policy: Policy, port: str) -> None:
    assert policy.allows(DAEMON, port, "tcp_socket", "name_bind")


@pytest.mark.parametrize("stranger", ["httpd_t", "named_t", "sshd_t", "user_t"])
def test_others_may_not_connect_to_its_sockets(policy: Policy, stranger: str) -> None:
    assert not policy.allows(stranger, DAEMON, "unix_stream_socket", "connectto")


# ---- it reaches the milters


@pytest.mark.parametrize(
    ("milter", "place"),
    [
        pytest.param("spamass_milter_t", "spamass_milter_data_t", id="spamass-milter"),
        pytest.param("greylist_milter_t", "greylist_milter_data_t", id="milter-greylist"),
        pytest.param("regex_milter_t", "regex_milter_data_t", id="milter-regex"),
        pytest.param("dkim_milter_t", "dkim_milter_data_t", id="opendkim and opendmarc"),
        pytest.param("antivirus_t", "antivirus_var_run_t", id="clamav-milter and amavisd-milter"),
        pytest.param("spamd_t", "spamd_var_run_t", id="mimedefang"),
        pytest.param("unconfined_service_t", "var_run_t", id="a milter without a policy"),
        pytest.param("initrc_t", "initrc_var_run_t", id="a milter without a policy and with a start script"),
    ],
)
def test_it_may_connect_to_the_unix_socket_of_each_packaged_milter(policy: Policy, milter: str, place: str) -> None:
    assert policy.allows(DAEMON, milter, "unix_stream_socket", "connectto", on=(UNCONFINED,))
    assert policy.allows(DAEMON, place, "sock_file", "write", on=(UNCONFINED,))
    assert policy.allows(DAEMON, place, "dir", "search", on=(UNCONFINED,))


def test_a_boolean_keeps_it_from_milters_without_a_policy(policy: Policy) -> None:
    assert not policy.allows(DAEMON, "unconfined_service_t", "unix_stream_socket", "connectto")


def test_milters_without_a_policy_are_reached_unless_that_is_switched_off() -> None:
    assert f"(boolean {UNCONFINED} true)" in MODULE.read_text()


@pytest.mark.parametrize("place", ["var_t", "var_run_t", "var_lib_t", "var_spool_t"])
def test_it_may_pass_the_directories_above_those_of_the_milters(policy: Policy, place: str) -> None:
    assert policy.allows(DAEMON, place, "dir", "search")


@pytest.mark.parametrize("port", ["milter_port_t", "unreserved_port_t"])
def test_it_may_connect_to_the_tcp_ports_of_milters(policy: Policy, port: str) -> None:
    assert policy.allows(DAEMON, port, "tcp_socket", "name_connect")


@pytest.mark.parametrize("port", ["smtp_port_t", "http_port_t", "ssh_port_t", "amavisd_recv_port_t"])
def test_it_may_connect_to_the_ports_of_other_services_only_by_a_boolean(policy: Policy, port: str) -> None:
    connects = [policy.allows(DAEMON, port, "tcp_socket", "name_connect", on=on) for on in ((), (PORTS,))]
    assert connects == [False, True]


def test_a_module_of_ones_own_may_add_a_milter_as_documented(policy: Policy, tmp_path: Path) -> None:
    text = (ROOT / "docs/selinux.md").read_text("utf-8")
    (example,) = re.findall(r"```cil\n(.*?)```", text, re.DOTALL)
    module = tmp_path / "my_milter.cil"
    module.write_text(example.replace("my_milter_t", "rpcbind_t").replace("my_milter_var_run_t", "rpcbind_var_run_t"))
    extended = policy.copy(tmp_path / "store")
    extended.change("-X", "400", "-i", str(module))
    assert extended.allows(DAEMON, "rpcbind_t", "unix_stream_socket", "connectto")


# ---- its own work


@pytest.mark.parametrize(
    "kind",
    ["milter_manager_etc_t", "etc_t", "etc_mail_t", "postfix_etc_t", "clamd_etc_t", "systemd_unit_t", "init_var_run_t"]
    + ["passwd_file_t", "hostname_etc_t", "net_conf_t", "usr_t", "locale_t", "initrc_exec_t"],
)
def test_it_reads_its_configuration_and_that_of_the_milters(policy: Policy, kind: str) -> None:
    assert policy.allows(DAEMON, kind, "file", "getattr", "open", "read")


def test_it_signals_its_workers(policy: Policy) -> None:
    assert policy.allows(DAEMON, DAEMON, "process", "fork", "signal", "sigkill", "signull", "sigchld")


def test_it_reads_what_proc_says_of_its_workers(policy: Policy) -> None:
    assert policy.allows(DAEMON, "proc_t", "dir", "search")
    assert policy.allows(DAEMON, DAEMON, "dir", "open", "read", "search")
    assert policy.allows(DAEMON, DAEMON, "file", "open", "read")


def test_it_knows_how_long_a_queue_of_connections_may_be(policy: Policy) -> None:
    assert policy.allows(DAEMON, "sysctl_net_t", "file", "open", "read")


def test_its_sockets_come_and_go(policy: Policy) -> None:
    assert policy.allows(DAEMON, "milter_manager_data_t", "sock_file", "create", "setattr", "rename", "unlink")
    assert policy.allows(DAEMON, "milter_manager_data_t", "dir", "write", "add_name", "remove_name")


def test_its_spool_is_in_tmp(policy: Policy) -> None:
    assert policy.allows(DAEMON, "tmp_t", "dir", "write", "add_name", "remove_name")
    assert policy.allows(DAEMON, "milter_manager_tmp_t", "file", "create", "open", "read", "write", "unlink")


def test_its_workers_lock_a_file_in_memory(policy: Policy) -> None:
    assert policy.allows(DAEMON, "milter_manager_tmpfs_t", "file", "create", "read", "write", "lock")


def test_it_asks_the_dns_only_by_a_boolean(policy: Policy) -> None:
    sends = [policy.allows(DAEMON, DAEMON, "udp_socket", "read", "write", on=on) for on in ((), (NAMES,))]
    assert sends == [False, True]


def test_it_asks_the_dns_by_tcp_only_by_a_boolean(policy: Policy) -> None:
    connects = [policy.allows(DAEMON, "dns_port_t", "tcp_socket", "name_connect", on=on) for on in ((), (NAMES,))]
    assert connects == [False, True]


# ---- and nothing else


def test_it_writes_no_files_but_its_own(policy: Policy) -> None:
    kinds = ("data", "log", "tmp", "tmpfs")
    assert targets(policy, "file", *WRITING) == {DAEMON, *(f"milter_manager_{kind}_t" for kind in kinds)}


def test_it_changes_no_directories_but_its_own_and_tmp(policy: Policy) -> None:
    changing = ("write", "add_name", "remove_name", "create", "rmdir", "rename", "setattr")
    assert targets(policy, "dir", *changing) == {"milter_manager_data_t", "milter_manager_log_t", "tmp_t"}


def test_it_can_add_to_its_log_but_not_rewrite_it(policy: Policy) -> None:
    assert not policy.rules(DAEMON, "file", "write", "unlink", "rename", "setattr", target="milter_manager_log_t")


def test_it_executes_no_shell(policy: Policy) -> None:
    assert targets(policy, "file", "execute_no_trans") == {"bin_t", "milter_manager_exec_t"}


def test_it_becomes_no_other_domain(policy: Policy) -> None:
    assert not policy.rules(DAEMON, "process", "transition", "dyntransition", "setexec", "setcurrent")


def test_it_has_no_capabilities_but_those_of_a_start_as_root(policy: Policy) -> None:
    found = {
        rule.switch
        for each in ("capability", "capability2")
        for rule in policy.rules(DAEMON, each, *CAPABILITIES[each])
    }
    assert found == {f"{AS_ROOT} on"}


CAPABILITIES = {
    "capability": ("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid")
    + ("net_admin", "net_bind_service", "net_raw", "sys_admin", "sys_module", "sys_ptrace", "sys_resource"),
    "capability2": ("mac_admin", "mac_override", "syslog"),
}


def test_it_signals_nobody_else(policy: Policy) -> None:
    assert targets(policy, "process", "signal", "sigkill", "sigstop") == {DAEMON}


def test_it_looks_into_no_other_process(policy: Policy) -> None:
    assert not policy.rules(DAEMON, "process", "ptrace")


def test_it_makes_no_memory_executable(policy: Policy) -> None:
    assert not policy.rules(DAEMON, "process", "execmem", "execstack", "execheap")


@pytest.mark.parametrize(
    "kind",
    ["mail_spool_t", "mqueue_spool_t", "postfix_spool_t", "shadow_t", "user_home_t", "sshd_key_t", "tls_privkey_t"]
    + ["dkim_milter_private_key_t", "auditd_log_t", "var_log_t", "postfix_private_t", "selinux_config_t", "boot_t"],
)
def test_it_reads_no_mail_and_no_secrets(policy: Policy, kind: str) -> None:
    assert not policy.rules(DAEMON, "file", "read", "open", target=kind)


@pytest.mark.parametrize("kind", ["rawip_socket", "packet_socket", "netlink_audit_socket", "netlink_netfilter_socket"])
def test_it_has_no_raw_sockets(policy: Policy, kind: str) -> None:
    assert not policy.rules(DAEMON, kind, "create")


def test_it_uses_no_disks(policy: Policy) -> None:
    assert not policy.rules(DAEMON, "blk_file", "read", "write")


@pytest.mark.parametrize("port", ["smtp_port_t", "http_port_t", "ssh_port_t"])
def test_it_never_takes_the_port_of_another_service(policy: Policy, port: str) -> None:
    assert not policy.rules(DAEMON, "tcp_socket", "name_bind", target=port)


@pytest.mark.parametrize("peer", ["mysqld_t", "dovecot_t", "system_dbusd_t", "postfix_master_t", "unconfined_t"])
def test_it_connects_to_no_other_service(policy: Policy, peer: str) -> None:
    assert not policy.rules(DAEMON, "unix_stream_socket", "connectto", target=peer)


@pytest.mark.parametrize("mta", MTAS)
def test_mtas_change_nothing_of_it(policy: Policy, mta: str) -> None:
    assert not policy.rules(mta, "file", *WRITING, target="milter_manager_etc_t")
