"""The shared structs as clang laid them out (the object's BTF) against their mirror in Python."""

import ctypes
import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from xdpflannel.dataplane import abi, maps, source
from xdpflannel.model.verdict import Verdict, VerdictClass

BPF = Path(__file__).resolve().parent.parent.parent / "bpf"
MIRROR = {
    "xf_config": abi.Config,
    "xf_prefix4": abi.Prefix4,
    "xf_route": abi.Route,
    "xf_pod": abi.Pod,
    "xf_vtep": abi.Vtep,
    "xf_counter": abi.CounterValue,
}
_DEFINE = re.compile(r"^#define (XF_[A-Z0-9_]+) +([^/\n]+?) *(?:/\*.*)?$", re.MULTILINE)
_SHIFT = re.compile(r"\((\d+)U << (\d+)\)")
_VERDICT = re.compile(r'^XF_VERDICT\((\d+), (\w+), (\w+), "(.*)"\)$', re.MULTILINE)


@pytest.fixture(scope="session")
def btf():
    """Every type of the object, by its id."""
    subprocess.run(["make", "-C", BPF], check=True, capture_output=True)
    dump = ["bpftool", "btf", "dump", "file", source.prebuilt_object(), "format", "raw", "--json"]
    done = subprocess.run(dump, check=True, capture_output=True)
    return {member["id"]: member for member in json.loads(done.stdout)["types"]}


def named(btf, kind, name):
    (found,) = [entry for entry in btf.values() if entry["kind"] == kind and entry["name"] == name]
    return found


def size_of(btf, number):
    entry = btf[number]
    if entry["kind"] == "ARRAY":
        return entry["nr_elems"] * size_of(btf, entry["type_id"])
    if entry["kind"] in ("TYPEDEF", "CONST", "VOLATILE"):
        return size_of(btf, entry["type_id"])
    return entry["size"]


@cache
def header():
    """The text of abi.h."""
    return (BPF / "include" / "xf" / "abi.h").read_text()


def constants():
    """Names and values of the macros in abi.h."""
    found = {}
    for name, text in _DEFINE.findall(header()):
        shift = _SHIFT.fullmatch(text)
        found[name] = int(shift[1]) << int(shift[2]) if shift else int(text)
    return found


@pytest.mark.parametrize("name", MIRROR)
def test_struct_is_laid_out_alike(btf, name):
    struct, mirror = named(btf, "STRUCT", name), MIRROR[name]
    in_c = [
        (member["name"], member["bits_offset"] // 8, size_of(btf, member["type_id"]))
        for member in struct["members"]
    ]
    in_python = [
        (member, getattr(mirror, member).offset, getattr(mirror, member).size)
        for member, *_ in mirror._fields_
    ]
    assert in_python == in_c
    assert ctypes.sizeof(mirror) == struct["size"]


@pytest.mark.parametrize("name", MIRROR)
def test_struct_has_no_hole(name):
    """A hole would be random bytes in a map, and two equal entries would differ."""
    mirror = MIRROR[name]
    assert sum(getattr(mirror, member).size for member, *_ in mirror._fields_) == ctypes.sizeof(mirror)


def test_every_struct_of_the_header_has_a_mirror():
    assert set(re.findall(r"^struct (xf_\w+) \{", header(), re.MULTILINE)) == set(MIRROR)


def test_map_shapes_are_those_of_the_structs():
    key_and_value = {
        "config": (ctypes.c_uint32, abi.Config),
        "routes4": (abi.Prefix4, abi.Route),
        "pods4": (ctypes.c_uint32, abi.Pod),
        "vteps4": (ctypes.c_uint32, abi.Vtep),
        "counters": (ctypes.c_uint32, abi.CounterValue),
    }
    sizes = {name: (ctypes.sizeof(key), ctypes.sizeof(value)) for name, (key, value) in key_and_value.items()}
    assert sizes == {name: (shape.key_size, shape.value_size) for name, shape in maps.MAPS.items()}


def test_programs_have_the_same_numbers():
    block = re.search(r"enum xf_program \{(.*?)\}", header(), re.DOTALL)
    assert block is not None
    numbers = {name: int(number) for name, number in re.findall(r"XF_(\w+) = (\d+)", block[1])}
    assert numbers == {program.name: program.value for program in abi.Program}
    assert max(numbers.values()) < abi.PROGRAMS


def test_constants_have_the_same_values():
    assert constants() == {
        "XF_HEADER_MAX": abi.HEADER_MAX,
        "XF_HEADER_IPV4": abi.HEADER_IPV4,
        "XF_VERDICTS": abi.VERDICTS,
        "XF_PROGRAMS": abi.PROGRAMS,
        "XF_COUNTERS": abi.COUNTERS,
        "XF_CONFIG_READY": abi.CONFIG_READY,
        "XF_CONFIG_STRICT": abi.CONFIG_STRICT,
        "XF_CONFIG_XDP_TCP": abi.CONFIG_XDP_TCP,
        "XF_CONFIG_DECAP_L4": abi.CONFIG_DECAP_L4,
        "XF_POD_NAPI": abi.POD_NAPI,
    }


def test_verdicts_are_those_of_the_list():
    rows = _VERDICT.findall((BPF / "include" / "xf" / "verdict.def").read_text())
    assert {name.upper(): int(number) for number, name, *_ in rows} == {v.name: v.value for v in Verdict}
    for _, name, kind, text in rows:
        verdict = Verdict[name.upper()]
        assert (verdict.kind, verdict.help) == (VerdictClass(kind), text)


def test_c_knows_the_same_verdicts():
    text = (BPF / "include" / "xf" / "verdict.h").read_text()
    values = {name: int(number) for name, number in re.findall(r"^\tXF_(\w+) = (\d+),", text, re.MULTILINE)}
    assert values.pop("GO_ON") >= abi.VERDICTS
    assert values == {verdict.name: verdict.value for verdict in Verdict}
    assert max(Verdict) < abi.VERDICTS


def test_drops_and_fast_verdicts_are_where_the_programs_look():
    """tc.h and xdp.h tell them apart by their number alone."""
    fast = {verdict for verdict in Verdict if verdict.kind is VerdictClass.FAST}
    drops = {verdict for verdict in Verdict if verdict.kind is VerdictClass.DROP}
    assert fast == {verdict for verdict in Verdict if verdict <= Verdict.SWITCHED}
    assert drops == {verdict for verdict in Verdict if verdict >= Verdict.STRANGER_VTEP_DROPPED}
