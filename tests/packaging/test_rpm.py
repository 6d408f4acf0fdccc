"""What is in the packages of EL 8 and EL 9, and that two builds are the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import wheels as pinned
from places import commands
from rpm_lab import Built, build, need, pythons, said

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(110)]

RELEASES = ("el8", "el9")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def trees(rpms: dict[str, Built], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages' files."""
    top = tmp_path_factory.mktemp("trees")
    return {release: rpms[release].unpacked(top / release) for release in RELEASES}


@pytest.mark.parametrize(
    ("release", "wanted"),
    [("el8", "(python3.12 or python3.11 or python39)"), ("el9", "python3 >= 3.9")],
)
def test_a_python_that_serves_is_required(rpms: dict[str, Built], release: str, wanted: str) -> None:
    assert wanted in rpms[release].query("--requires")


@pytest.mark.parametrize("release", RELEASES)
def test_nothing_newer_than_el_8_has_is_required_of_the_c_library(rpms: dict[str, Built], release: str) -> None:
    found = [line.partition("(GLIBC_")[2].partition(")")[0] for line in rpms[release].query("--requires")]
    assert max(tuple(map(int, each.split("."))) for each in found if each) <= (2, 28)


@pytest.mark.parametrize("release", RELEASES)
def test_no_private_module_is_provided_to_others(rpms: dict[str, Built], release: str) -> None:
    provides = rpms[release].query("--provides")
    assert [line for line in provides if not line.startswith(("milter-manager", "config(", "bundled("))] == []


@pytest.mark.parametrize("release", RELEASES)
def test_the_policy_module_is_required_only_where_there_is_such_a_policy(rpms: dict[str, Built], release: str) -> None:
    found = [line for line in rpms[release].query("--requires") if "selinux" in line]
    version = said("rpm", "-qp", "--qf", "%{VERSION}-%{RELEASE}", str(rpms[release].rpm))
    assert found == [f"(milter-manager-selinux = {version} if selinux-policy-targeted)"]


@pytest.mark.parametrize("release", RELEASES)
def test_every_command_of_the_project_is_in_a_package(rpms: dict[str, Built], release: str, tmp_path: Path) -> None:
    packages = map(str, rpms[release].top.glob("RPMS/*/*.rpm"))
    names = {Path(line).name for line in said("rpm", "-qpl", *packages).splitlines() if re.match("/usr/s?bin/", line)}
    pyproject = tmp_path / "pyproject.toml"
    (archive,) = (rpms[release].top / "SOURCES").glob("milter-manager-*.tar.gz")
    pyproject.write_text(said("tar", "-xzOf", str(archive), "--wildcards", "milter-manager-*/pyproject.toml"))
    assert names == set(commands(pyproject))


@pytest.mark.parametrize("release", RELEASES)
def test_all_configuration_is_kept_at_an_upgrade(rpms: dict[str, Built], release: str) -> None:
    found = said(
        "rpm", "-qp", "--qf", "[%{FILENAMES} %{FILEFLAGS:fflags} %{FILEMODES:perms}\n]", str(rpms[release].rpm)
    )
    files = [
        line.split() for line in found.splitlines() if line.startswith("/etc/") and not line.split()[-1].startswith("d")
    ]
    assert [line for line in files if line[1] != "cn"] == []


@pytest.mark.parametrize("release", RELEASES)
def test_scriptlets_name_the_units(rpms: dict[str, Built], release: str) -> None:
    scripts = "\n".join(rpms[release].query("--scripts"))
    for verb in ("preset", "disable --now", "try-restart"):
        assert f"{verb} milter-manager.service" in scripts


@pytest.mark.parametrize("release", RELEASES)
def test_no_macro_is_left_in_the_scriptlets(rpms: dict[str, Built], release: str) -> None:
    assert "%" not in "\n".join(rpms[release].query("--scripts", "--triggers"))


def test_the_drop_in_for_newer_systemd_is_in_that_of_el_9_alone(rpms: dict[str, Built]) -> None:
    has = [any("10-newer-systemd" in line for line in rpms[release].query("-l")) for release in RELEASES]
    assert has == [False, True]


@pytest.mark.parametrize("release", RELEASES)
def test_rpmlint_finds_no_error(rpms: dict[str, Built], release: str) -> None:
    need("rpmlint")
    built = rpms[release]
    packages = sorted(map(str, [*built.top.glob("RPMS/*/*.rpm"), built.srpm]))
    done = subprocess.run(["rpmlint", str(built.spec), *packages], capture_output=True, text=True)
    # Debian's rpmlint asks for a signature and, as it knows no distribution, for a group and a packager
    wanted = ("no-signature", "no-group-tag", "no-packager-tag")
    lines = [line for line in done.stdout.splitlines() if " E: " in line]
    assert [line for line in lines if not any(each in line for each in wanted)] == []


@pytest.mark.parametrize(("release", "threshold"), [("el8", "18"), ("el9", "15")])
def test_the_service_is_exposed_no_more_than_that(trees: dict[str, Path], release: str, threshold: str) -> None:
    need("systemd-analyze")
    assert exposure(trees[release], "milter-manager.service", threshold) == ""


@pytest.mark.parametrize("release", RELEASES)
def test_the_log_analyzer_is_exposed_no_more_than_that(rpms: dict[str, Built], release: str, tmp_path: Path) -> None:
    need("systemd-analyze")
    tree = rpms[release].unpacked(tmp_path, "log-analyzer")
    assert exposure(tree, "milter-manager-log-analyzer.service", "26") == ""


def exposure(tree: Path, unit: str, threshold: str) -> str:
    """Nothing, unless a unit is exposed more than that, in tenths; then what systemd says of it."""
    command = ["systemd-analyze", "security", "--offline=true", f"--root={tree}", f"--threshold={threshold}"]
    done = subprocess.run([*command, unit], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout[-300:] + done.stderr


def test_the_unit_of_el_8_has_only_directives_that_its_systemd_knows(trees: dict[str, Path]) -> None:
    newer = "ProtectHostname ProtectClock ProtectKernelLogs ProtectProc ProcSubset PrivateIPC OOMPolicy ExitType"
    newer += " TimeoutAbortSec WatchdogSignal LoadCredential NoExecPaths LogNamespace"
    lines = (trees["el8"] / "usr/lib/systemd/system/milter-manager.service").read_text().splitlines()
    assert [line for line in lines if line.partition("=")[0] in newer.split()] == []


@pytest.mark.parametrize("version", ["3.9", "3.11", "3.12"])
def test_one_tree_serves_each_python(trees: dict[str, Path], version: str) -> None:
    if version not in pythons():
        pytest.skip(f"there is no Python {version} here")
    app = trees["el8"] / "usr/lib64/milter-manager"
    said(pythons()[version], str(ROOT / "packaging/rpm/check_tree.py"), str(app))


def test_byte_code_is_there_for_each_python_that_was_there(trees: dict[str, Path]) -> None:
    cache = trees["el8"] / "usr/lib64/milter-manager/mmgr/__pycache__"
    tags = {file.name.split(".")[1].replace("cpython-3", "3.") for file in cache.iterdir()}
    assert tags == set(pythons())


def test_no_byte_code_names_the_build_directory(trees: dict[str, Path], rpms: dict[str, Built]) -> None:
    files = (trees["el8"] / "usr/lib64/milter-manager").rglob("*.pyc")
    assert [file for file in files if b"BUILDROOT" in file.read_bytes()] == []


@pytest.fixture(scope="module")
def again(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The package of EL 9 a second time, in another directory."""
    return build(tmp_path_factory.mktemp("again") / "el9", sources, el=9)


def payload(package: Path) -> bytes:
    """All files with names, modes and times. Headers differ: rpm writes the build directory into that of the source."""
    return subprocess.run(["rpm2cpio", str(package)], check=True, stdout=subprocess.PIPE).stdout


def test_two_builds_give_the_same_payload(rpms: dict[str, Built], again: Built) -> None:
    assert payload(again.rpm) == payload(rpms["el9"].rpm)


def test_two_builds_give_the_same_source_payload(rpms: dict[str, Built], again: Built) -> None:
    assert payload(again.srpm) == payload(rpms["el9"].srpm)


def test_the_bill_of_materials_names_what_was_unpacked(trees: dict[str, Path]) -> None:
    app = trees["el9"] / "usr/lib64/milter-manager"
    bill = json.loads((app / "milter-manager.cdx.json").read_text())
    listed = {f"{each['name']}-{each['version']}.dist-info" for each in bill["components"]}
    assert listed == {path.name for path in (app / "vendor").glob("*.dist-info")}


def test_the_bill_of_materials_has_the_pinned_sum_of_each_wheel(trees: dict[str, Path]) -> None:
    bill = json.loads((trees["el9"] / "usr/lib64/milter-manager/milter-manager.cdx.json").read_text())
    files = [file for each in bill["components"] for file in each["components"]]
    listed = {(file["name"], *((each["alg"], each["content"]) for each in file["hashes"])) for file in files}
    chosen = pinned.for_machine(pinned.read_lock(), "x86_64")
    assert listed == {(wheel.file_name, ("SHA-256", wheel.sha256)) for wheel in chosen}


def test_the_bill_of_materials_has_the_licences_that_the_package_names(
    rpms: dict[str, Built], trees: dict[str, Path]
) -> None:
    bill = json.loads((trees["el9"] / "usr/lib64/milter-manager/milter-manager.cdx.json").read_text())
    entries = [entry for each in bill["components"] for entry in each["licenses"]]
    texts = [entry.get("expression") or entry["license"].get("id") or entry["license"]["name"] for entry in entries]
    (named,) = rpms["el9"].query("--qf", "%{LICENSE}\n")
    assert {part for text in texts for part in text.split(" AND ")} == set(named.split(" AND ")) - {"GPL-3.0-or-later"}


BILL_FIELDS = {"bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "dependencies"}
REF = r"[A-Za-z0-9.:/@#_+-]+"


def test_the_bill_of_materials_keeps_to_the_form_of_cyclonedx(trees: dict[str, Path]) -> None:
    bill = json.loads((trees["el9"] / "usr/lib64/milter-manager/milter-manager.cdx.json").read_text())
    assert set(bill) == BILL_FIELDS
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", bill["metadata"]["timestamp"])
    every = [bill["metadata"]["component"], *bill["components"]]
    every += [file for each in bill["components"] for file in each["components"]]
    refs = [each.get("bom-ref", "") for each in every if "bom-ref" in each]
    assert len(set(refs)) == len(refs)
    assert all(re.fullmatch(REF, ref) for ref in refs)
    assert {each["type"] for each in every} == {"application", "library", "file"}
    assert all(each["name"] for each in every)


def test_the_bill_of_materials_is_cyclonedx(trees: dict[str, Path]) -> None:
    bill = json.loads((trees["el9"] / "usr/lib64/milter-manager/milter-manager.cdx.json").read_text())
    purls = [each["purl"] for each in bill["components"]]
    refs = [each["ref"] for each in bill["dependencies"]]
    assert (bill["bomFormat"], bill["specVersion"], refs) == ("CycloneDX", "1.5", ["milter-manager", *purls])


def test_a_wheel_that_is_not_the_pinned_one_ends_the_build(wheels: Path, tmp_path: Path) -> None:
    for wheel in wheels.glob("*.whl"):
        (tmp_path / wheel.name).write_bytes(wheel.read_bytes() + b"\0" * wheel.name.startswith("configobj"))
    command = [sys.executable, "-B", str(ROOT / "packaging/lay_out.py"), "install", "--wheels", str(tmp_path)]
    done = subprocess.run([*command, "--destdir", str(tmp_path / "x")], capture_output=True, text=True)
    assert (done.returncode, "it is not used" in done.stderr, (tmp_path / "x").exists()) == (1, True, False)
