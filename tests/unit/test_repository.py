"""What must hold for the tree as a whole."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import yaml

from xdpflannel.cli import main
from xdpflannel.cli.daemon import command, settings_from
from xdpflannel.cli.flags import FOREIGN_FLAGS
from xdpflannel.model.verdict import Verdict

TOP = Path(__file__).resolve().parents[2]
MODULES = sorted((TOP / "xdpflannel").rglob("*.py"))
DOCUMENTS = [TOP / "README.md", TOP / "CONTRIBUTING.md", TOP / "CHANGELOG.md", *(TOP / "docs").rglob("*.md")]
SCRIPTS = [
    "scripts/setup",
    "scripts/test",
    "scripts/check",
    "scripts/generate",
    "scripts/demo",
    ".ci/run",
    ".ci/skips",
]


def manifest() -> list[dict]:
    return list(yaml.safe_load_all((TOP / "deploy" / "xdpflannel.yaml").read_text()))


def daemon_container() -> dict:
    (daemon_set,) = [it for it in manifest() if it["kind"] == "DaemonSet"]
    (container,) = daemon_set["spec"]["template"]["spec"]["containers"]
    return container


def read_flags(args: list[str]):
    context = command.make_context("xdpflanneld", list(args))
    flags = dict(context.params)
    foreign = {flag.attribute for flag in FOREIGN_FLAGS}
    assert all(value is None for name, value in flags.items() if name in foreign)
    return settings_from({name: value for name, value in flags.items() if name not in foreign})


def test_cmd_does_not_shadow_pythons_own() -> None:
    assert not (TOP / "cmd" / "__init__.py").exists()
    done = subprocess.run([sys.executable, "-c", "import pdb"], cwd=TOP, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["xdpflannel", "xdpflanneld"])
def test_commands_run_from_a_checkout(name) -> None:
    done = subprocess.run(
        [sys.executable, TOP / "cmd" / name, "--version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert re.fullmatch(r"\d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("name", [*SCRIPTS, "cmd/xdpflannel", "cmd/xdpflanneld"])
def test_scripts_can_be_run(name) -> None:
    path = TOP / name
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env ")


def test_generated_files_are_fresh() -> None:
    subprocess.run([TOP / "scripts" / "generate", "--check"], check=True)


def test_modules_stay_small() -> None:
    sizes = {str(path.relative_to(TOP)): len(path.read_text().splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        path for path in MODULES if path.read_text() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


# Room, and what else it may import; the layers are import-linter's business.
HEAVY = {
    "bcc": ["dataplane/bcc_child.py"],
    "etcd3": ["leases/"],
    "grpc": ["leases/"],
    "pyroute2": ["host/"],
    "prometheus_client": ["observe/"],
    "click": ["cli/"],
    "rich": ["cli/"],
}


@pytest.mark.parametrize("library", HEAVY)
def test_heavy_libraries_stay_in_their_room(library) -> None:
    importer = re.compile(rf"^\s*(import|from) {library}\b", re.MULTILINE)
    found = [
        str(path.relative_to(TOP / "xdpflannel")) for path in MODULES if importer.search(path.read_text())
    ]
    assert [name for name in found if not name.startswith(tuple(HEAVY[library]))] == []


def test_the_daemon_starts_without_what_it_does_not_need() -> None:
    code = (
        "import sys, xdpflannel.cli.daemon; "
        "print(*sorted({'etcd3', 'grpc', 'pyroute2', 'bcc', 'yaml', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOP)
    assert done.stdout.strip() == ""


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from xdpflannel.cli.main import command\n"
        "assert CliRunner().invoke(command, ['--help']).exit_code == 0\n"
        "print(*sorted({'etcd3', 'grpc', 'pyroute2', 'bcc', 'rich', 'prometheus_client'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TOP)
    assert done.stdout.strip() == ""


def test_bcc_is_never_a_python_dependency() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert not [name for name in wanted if re.match(r"bcc\b", name)]


def test_entry_points_exist() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {
        "xdpflannel": "xdpflannel.cli.main:main",
        "xdpflanneld": "xdpflannel.cli.daemon:main",
    }
    assert callable(main.main)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_documents_name_only_flags_and_verdicts_that_exist() -> None:
    known = {name for param in command.params for name in param.opts}
    for name in main.COMMANDS:
        found = main.command.get_command(click.Context(main.command), name)
        members = [found, *(found.commands.values() if isinstance(found, click.Group) else ())]
        known |= {opt for member in members for param in member.params for opt in param.opts}
    # Of other programs: docker, setup, scripts/check and curl's kind.
    known |= {"--bip", "--mtu", "--dev", "--fix", "--help", "--check", "--strict"}
    for document in (TOP / "README.md", TOP / "docs" / "operations.md"):
        used = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", document.read_text()))
        assert used - known == set(), document
    trouble = (TOP / "docs" / "operations.md").read_text()
    verdicts = set(re.findall(r"^\| many `(\w+)`", trouble, re.MULTILINE))
    assert verdicts
    assert verdicts <= {verdict.label for verdict in Verdict}


def test_the_manifests_flags_are_the_daemons() -> None:
    settings = read_flags(daemon_container()["args"])
    assert settings.healthz_port == 8081
    assert settings.metrics_port == 9101


def test_the_manifests_ports_and_mounts_fit_the_daemon() -> None:
    container = daemon_container()
    settings = read_flags(container["args"])
    for probe in ("livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == settings.healthz_port
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(settings.bpffs), str(settings.subnet_file.parent), str(settings.run_dir.parent)} <= mounts


def test_the_manifests_volumes_are_declared() -> None:
    (daemon_set,) = [it for it in manifest() if it["kind"] == "DaemonSet"]
    pod = daemon_set["spec"]["template"]["spec"]
    declared = {volume["name"] for volume in pod["volumes"]}
    used = {
        mount["name"] for it in (*pod["containers"], *pod["initContainers"]) for mount in it["volumeMounts"]
    }
    assert used == declared


def test_the_manifests_config_is_flannels_conflist() -> None:
    (config,) = [it for it in manifest() if it["kind"] == "ConfigMap"]
    conflist = yaml.safe_load(config["data"]["10-flannel.conflist"])
    assert [plugin["type"] for plugin in conflist["plugins"]] == ["flannel", "portmap"]


def test_the_manifest_is_of_this_version() -> None:
    version = subprocess.run(
        [sys.executable, TOP / "cmd" / "xdpflanneld", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert daemon_container()["image"] == f"xdpflannel:{version}"


def test_the_expected_skips_name_tests() -> None:
    lines = (TOP / ".ci" / "expected-skips.txt").read_text().splitlines()
    entries = [line for line in lines if line and not line.startswith("#")]
    assert [line for line in entries if "::" not in line.split()[0] or len(line.split()) < 2] == []


@pytest.mark.parametrize(
    ("listed", "cases", "fails"),
    [
        ("", "", False),
        ("", '<testcase classname="tests.a" name="t1"><skipped message="no NIC"/></testcase>', True),
        (
            "tests.a::t* no NIC",
            '<testcase classname="tests.a" name="t1"><skipped message="no NIC"/></testcase>',
            False,
        ),
        ("tests.a::t1 no NIC", '<testcase classname="tests.a" name="t1"/>', True),
    ],
)
def test_skips_are_compared(tmp_path, listed, cases, fails) -> None:
    (tmp_path / "skips").write_text((TOP / ".ci" / "skips").read_text())
    (tmp_path / "expected-skips.txt").write_text(f"# comment\n{listed}\n")
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    done = subprocess.run(
        [sys.executable, tmp_path / "skips", tmp_path / "junit.xml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) is fails
    assert "Traceback" not in done.stderr
