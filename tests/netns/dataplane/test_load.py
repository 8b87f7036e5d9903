"""What the loaders say when they cannot, and that they leave what is there as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xdpflannel.dataplane import loader, pins, source
from xdpflannel.dataplane.abi import Program
from xdpflannel.dataplane.maps import MAPS, Tables
from xdpflannel.dataplane.objects import Map
from xdpflannel.errors import DataplaneError, PinMismatch, ProgramRejected, Unsupported

LOADERS = ("bcc", "libbpf")
BODY = "\t__u32 bytes = ctx->len;\n"
"""A line of xf_pod_egress() that a statement may follow."""
WRONG_MAPS = {
    "config": ("hash", 4, 48),
    "routes4": ("hash", 8, 112),
    "pods4": ("hash", 4, 32),
    "vteps4": ("array", 4, 4),
    "counters": ("array", 4, 16),
    "flows4": ("hash", 16, 24),
}


def ids(pinned):
    found = {}
    for folder, kind in ((pinned.maps, Map), (pinned.programs, None)):
        for path in sorted(folder.iterdir()):
            opened = kind.from_pin(path) if kind else loader.open_program(pinned, _program(path.name))
            with opened:
                found[path.name] = opened.facts.id
    return found


def _program(label):
    return next(program for program in Program if program.label == label)


@pytest.mark.parametrize("kind", LOADERS)
def test_everything_is_pinned_and_nothing_else(pinned, kind):
    report = loader.load(pinned, loader=kind, sizes=loader.MapSizes(routes=100))
    assert report.loader == kind
    assert sorted(path.name for path in pinned.maps.iterdir()) == sorted(MAPS)
    assert sorted(path.name for path in pinned.programs.iterdir()) == sorted(it.label for it in Program)
    assert list(pinned.links.iterdir()) == []
    with Tables.open(pinned.base) as tables:
        assert tables.capacity("routes4") == tables.capacity("vteps4") == 100
        assert tables.config() is None


@pytest.mark.parametrize("first", LOADERS)
@pytest.mark.parametrize("second", LOADERS)
def test_maps_are_adopted_by_either_loader(pinned, first, second):
    loader.load(pinned, loader=first, sizes=loader.MapSizes(routes=100))
    before = ids(pinned)
    loader.load(pinned, loader=second, sizes=loader.MapSizes(routes=200))
    after = ids(pinned)
    assert {name: after[name] for name in MAPS} == {name: before[name] for name in MAPS}
    assert all(after[program.label] != before[program.label] for program in Program)


def test_the_compilers_own_words(pinned, sources):
    sources("pod_egress.c", BODY, BODY + "no_such_thing = 1;\n")
    with pytest.raises(ProgramRejected) as caught:
        loader.load(pinned, loader="bcc")
    said = str(caught.value)
    assert "pod_egress.c" in said
    assert "error: use of undeclared identifier 'no_such_thing'" in said
    assert said.count("\n") == 0
    assert len(said) < 500
    assert "no_such_thing" in caught.value.log
    assert "debug" in caught.value.hint


@pytest.mark.parametrize("kind", LOADERS)
def test_the_verifiers_own_words(pinned, sources, kind):
    copy = sources("pod_egress.c", BODY, BODY + "*(volatile char *)(long)ctx->data = 1;\n")
    if kind == "libbpf":
        subprocess.run(["make", "-s", "-C", copy, f"PYTHON={sys.executable}"], check=True)
    with pytest.raises(ProgramRejected) as caught:
        loader.load(pinned, loader=kind)
    assert "invalid access to packet" in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "processed " in caught.value.log


@pytest.mark.parametrize("kind", LOADERS)
def test_what_ran_before_a_rejected_upgrade_runs_on(pinned, sources, kind):
    loader.load(pinned, loader=kind)
    before = ids(pinned)
    copy = sources("xdp_pod.c", "ctx->data_end;", "ctx->data_end; *(volatile char *)(long)ctx->data = 1;")
    if kind == "libbpf":
        subprocess.run(["make", "-s", "-C", copy, f"PYTHON={sys.executable}"], check=True)
    with pytest.raises(ProgramRejected):
        loader.load(pinned, loader=kind)
    assert ids(pinned) == before


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("name", sorted(MAPS))
def test_a_foreign_map_where_ours_belongs(pinned, kind, name):
    type_, key, value = WRONG_MAPS[name]
    pinned.create()
    path = pinned.maps / name
    command = ["bpftool", "map", "create", path, "type", type_, "key", str(key), "value", str(value)]
    subprocess.run([*command, "entries", "4", "name", "foreign"], check=True)
    for action in (
        lambda: loader.load(pinned, loader=kind),
        lambda: loader.check(pinned, kind),
    ):
        with pytest.raises(PinMismatch, match=f"{path} is a map of type") as caught:
            action()
        assert "uninstall" in caught.value.hint
    assert list(pinned.programs.iterdir()) == []
    assert sorted(path.name for path in pinned.maps.iterdir()) == [name]


def test_a_program_where_a_map_belongs(pinned):
    loader.load(pinned, loader="libbpf", programs=[Program.POD_EGRESS])
    (pinned.maps / "pods4").unlink()
    (pinned.programs / "pod_egress").rename(pinned.maps / "pods4")
    for action in (lambda: loader.load(pinned, loader="libbpf"), lambda: Tables.open(pinned.base)):
        with pytest.raises(PinMismatch, match="pods4 is a bpf-prog, not a bpf-map"):
            action()


def test_a_map_without_its_pin(pinned):
    loader.load(pinned, loader="libbpf")
    (pinned.maps / "pods4").unlink()
    with pytest.raises(DataplaneError, match="pods4"):
        Tables.open(pinned.base)


def test_no_object(pinned, tmp_path, monkeypatch):
    monkeypatch.setenv("XDPFLANNEL_OBJECT_DIR", str(tmp_path))
    for action in (
        lambda: loader.load(pinned, loader="libbpf"),
        lambda: loader.check(pinned, "libbpf"),
    ):
        with pytest.raises(Unsupported, match=f"ABI {source.abi_hash()} in {tmp_path}"):
            action()
    assert loader.load(pinned, loader="auto").loader == "bcc"


def test_an_object_that_is_none(pinned, tmp_path, monkeypatch):
    monkeypatch.setenv("XDPFLANNEL_OBJECT_DIR", str(tmp_path))
    path = tmp_path / f"xdpflannel-{source.abi_hash()}.o"
    path.write_bytes(b"\x7fELF and nothing more")
    with pytest.raises(DataplaneError, match=f"{path} is not a BPF object"):
        loader.load(pinned, loader="libbpf")


def test_not_on_another_file_system(tmp_path):
    with pytest.raises(DataplaneError, match="not a BPF file system") as caught:
        loader.load(pins.pins("default", tmp_path), loader="libbpf")
    assert "mount -t bpf" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
