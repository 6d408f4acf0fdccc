"""A policy to ask: Debian's reference policy with what EL has besides, and our module, in a store of its own.

Nothing of it reaches the machine: no SELinux is needed in the kernel, and the machine's own policy stays as it is.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "packaging/rpm/selinux/milter_manager.cil"
EL_NAMES = Path(__file__).with_name("selinux") / "el_names.cil"
BASE = Path("/usr/share/selinux/default")
TOOLS = ("semodule", "sesearch", "matchpathcon")
STORE = "default"
MODULES = (
    *("milter", "dkim", "clamav", "spamassassin", "sssd", "networkmanager"),  # what our module speaks of
    *("postfix", "sendmail", "mta", "unconfined"),
    *("apache", "bind", "dovecot", "mysql", "rpcbind", "ssh", "unprivuser"),  # what our tests ask for besides
    *("base", "getty", "hostname", "xdg", "xserver"),  # what those need
)
"""Of 330: asking all of them takes five times as long. The rules for all domains and all daemons are in ``base``."""

_RULE = re.compile(r"allow (\S+) (\S+):(\S+) (?:\{ (.*) \}|(\S+));(?: \[ (.*) \]:(True|False))?$")


def absent() -> list[str]:
    """What has to be installed first."""
    found = [tool for tool in TOOLS if shutil.which(tool) is None]
    return found + [str(BASE)] * (not (BASE / "base.pp.bz2").exists())


@dataclass(frozen=True)
class Rule:
    """One allow rule. switch is the boolean that it depends on with its state ("" for none), as in "my_switch on"."""

    target: str
    object_class: str
    permissions: frozenset[str]
    switch: str


class Policy:
    """A store below a directory. The names of types are those of EL."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        etc = directory / "etc/selinux"
        self._etc = etc / STORE
        self._asked: dict[tuple[str, str], list[Rule]] = {}
        if not etc.exists():
            self._etc.mkdir(parents=True)
            (directory / "var/lib/selinux").mkdir(parents=True)
            (etc / "semanage.conf").write_text("module-store = direct\nexpand-check = 0\n")

    def change(self, *words: str) -> None:
        """Run semodule on the store."""
        # without -v: libsepol 3.4 then takes equal filecon rules, of which the reference policy has some, for conflicts
        command = ["semodule", "-p", str(self._directory), "-s", STORE, "-N", "-n", *words]
        self._asked.clear()
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, f"semodule {' '.join(words[-4:])}: {done.stderr[-2000:]}"

    def check_what_is_never_allowed(self) -> None:
        """Let later changes fail if a rule is one that the base policy forbids for good (neverallow)."""
        configuration = self._directory / "etc/selinux/semanage.conf"
        configuration.write_text(configuration.read_text().replace("expand-check = 0", "expand-check = 1"))

    def copy(self, directory: Path) -> Policy:
        """Another store with the same modules."""
        shutil.copytree(self._directory, directory)
        return Policy(directory)

    def rules(self, source: str, object_class: str, *permissions: str, target: str = "") -> list[Rule]:
        """The rules that grant any of these permissions."""
        if (source, target) not in self._asked:
            words = ["-A", "-s", source, *(["-t", target] if target else [])]
            self._asked[source, target] = [rule for rule in map(_rule, self._ask(*words)) if rule is not None]
        found = [rule for rule in self._asked[source, target] if rule.object_class == object_class]
        return [rule for rule in found if rule.permissions & set(permissions)]

    def allows(self, source: str, target: str, object_class: str, *permissions: str, on: tuple[str, ...] = ()) -> bool:
        """Whether all are granted with the named booleans on and all others off."""
        switches = {"", *(f"{name} on" for name in on)}
        found = [
            rule for rule in self.rules(source, object_class, *permissions, target=target) if rule.switch in switches
        ]
        return set(permissions) <= {permission for rule in found for permission in rule.permissions}

    def transition(self, source: str, executed: str) -> str:
        """The domain that a process of the type source gets by executing a file of this type; "" for its own."""
        found = re.findall(r" (\w+);", "\n".join(self._ask("-T", "-s", source, "-t", executed, "-c", "process")))
        return found[0] if found else ""

    def label(self, path: str, kind: str, *same: str) -> str:
        """The type that a path gets. same are lines of file_contexts.subs_dist: "/run /var/run"."""
        contexts = self._etc / "contexts/files/file_contexts"
        (contexts.with_name("file_contexts.subs_dist")).write_text("".join(f"{line}\n" for line in same))
        command = ["matchpathcon", "-n", "-f", str(contexts), "-m", kind, path]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.strip().split(":")[2]

    def _ask(self, *words: str) -> list[str]:
        (policy,) = (self._etc / "policy").glob("policy.*")
        done = subprocess.run(["sesearch", *words, str(policy)], capture_output=True, text=True)
        assert done.returncode == 0, f"sesearch {' '.join(words)}: {done.stderr}"
        return done.stdout.splitlines()


def base_policy(directory: Path) -> Policy:
    """The reference policy with the names of EL, without our module."""
    policy = Policy(directory)
    policy.change("-X", "100", "-i", *(f"{BASE}/{name}.pp.bz2" for name in MODULES), str(EL_NAMES))
    return policy


def _rule(line: str) -> Rule | None:
    found = _RULE.match(line)
    if found is None:
        return None
    _, target, object_class, several, one, switch, state = found.groups()
    permissions = frozenset((several or one).split())
    return Rule(target, object_class, permissions, f"{switch} {'on' if state == 'True' else 'off'}" if switch else "")
