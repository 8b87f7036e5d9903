"""Attachments on a real veth: made, kept, swapped, moved, taken off, beside other people's."""

from __future__ import annotations

import json
import subprocess

import pytest

from xdpflannel.dataplane import loader, pins
from xdpflannel.dataplane.abi import Program
from xdpflannel.dataplane.attach import Attacher, Attachment, Hook
from xdpflannel.dataplane.objects import Link
from xdpflannel.errors import XdpflannelError
from xdpflannel.host.clsact import PRIORITY, Clsact
from xdpflannel.host.namespace import call_inside

TC = (Hook.TCX, Hook.CLSACT)
XDP = (Hook.XDP_NATIVE, Hook.XDP_GENERIC)


@pytest.fixture
def loaded(pinned):
    loader.load(pinned, loader="libbpf", sizes=loader.MapSizes(routes=16))
    return pinned


@pytest.fixture
def wire(namespace):
    """A namespace with a veth pair; returns it and the number of one end, xf0."""
    namespace.ip("link add xf0 type veth peer name xf1")
    namespace.ip("link set xf0 up")
    namespace.ip("link set xf1 up")
    (link,) = json.loads(namespace.ip("-j link show xf0"))
    return namespace, link["ifindex"]


@pytest.fixture
def clsact(namespace):
    opened = Clsact(namespace.name)
    yield opened
    opened.close()


@pytest.fixture
def attacher(loaded, clsact):
    return Attacher(loaded, clsact)


@pytest.fixture
def do(namespace):
    """Call in the namespace: interface numbers count there."""
    return lambda function, *arguments: call_inside(namespace.name, lambda: function(*arguments))


def wanted(hook, ifindex, program=None):
    default = Program.XDP_UPLINK if hook.is_xdp else Program.POD_EGRESS
    return Attachment(program or default, ifindex, hook)


def filters(namespace):
    return [
        line
        for line in namespace.run("tc", "filter", "show", "dev", "xf0", "ingress").splitlines()
        if "handle" in line
    ]


@pytest.mark.parametrize("hook", [*TC, *XDP])
def test_attach_list_detach(attacher, wire, do, hook):
    _, ifindex = wire
    assert do(attacher.attach, wanted(hook, ifindex)) is True
    assert do(attacher.attached) == [wanted(hook, ifindex)]
    do(attacher.attach, wanted(hook, ifindex))
    assert do(attacher.attached) == [wanted(hook, ifindex)]
    do(attacher.detach, wanted(hook, ifindex))
    assert do(attacher.attached) == []
    do(attacher.detach, wanted(hook, ifindex))


@pytest.mark.parametrize("hook", [Hook.TCX, *XDP])
def test_again_is_nothing_new_and_a_new_program_is_swapped_in(attacher, loaded, wire, do, hook):
    _, ifindex = wire
    do(attacher.attach, wanted(hook, ifindex))
    before = link_of(loaded)
    assert do(attacher.attach, wanted(hook, ifindex)) is False
    assert link_of(loaded) == before
    loader.load(loaded, loader="libbpf")
    assert do(attacher.attach, wanted(hook, ifindex)) is True
    after = link_of(loaded)
    assert after.id == before.id
    assert after.program_id != before.program_id


def link_of(pinned):
    (path,) = pinned.links.iterdir()
    with Link.from_pin(path) as link:
        return link.facts


def test_a_clsact_filter_is_replaced_in_place(attacher, loaded, wire, do):
    namespace, ifindex = wire
    do(attacher.attach, wanted(Hook.CLSACT, ifindex))
    (before,) = filters(namespace)
    do(attacher.attach, wanted(Hook.CLSACT, ifindex))
    assert filters(namespace) == [before]
    loader.load(loaded, loader="libbpf")
    do(attacher.attach, wanted(Hook.CLSACT, ifindex))
    (after,) = filters(namespace)
    assert f"pref {PRIORITY} " in after
    assert after != before
    assert after.partition(" id ")[0] == before.partition(" id ")[0]


def test_a_clsact_qdisc_goes_with_the_last_filter_only(attacher, loaded, wire, do):
    namespace, ifindex = wire
    foreign = ("bpf", "da", "pinned", str(loaded.programs / "uplink_ingress"))
    for hook in ("ingress", "egress"):
        do(attacher.attach, wanted(Hook.CLSACT, ifindex))
        namespace.run("tc", "filter", "add", "dev", "xf0", hook, "prio", "9", *foreign)
        do(attacher.detach, wanted(Hook.CLSACT, ifindex))
        assert do(attacher.attached) == []
        assert "pref 9 " in namespace.run("tc", "filter", "show", "dev", "xf0", hook)
        namespace.run("tc", "filter", "del", "dev", "xf0", hook)
    do(attacher.attach, wanted(Hook.CLSACT, ifindex))
    do(attacher.detach, wanted(Hook.CLSACT, ifindex))
    assert "clsact" not in namespace.run("tc", "qdisc", "show", "dev", "xf0")


def test_a_foreign_filter_of_our_priority_or_name_is_not_ours(attacher, loaded, wire, do):
    """Both must fit."""
    namespace, _ = wire
    pinned = str(loaded.programs / "pod_egress")
    namespace.run("tc", "qdisc", "add", "dev", "xf0", "clsact")
    for priority in ("5", str(PRIORITY)):
        namespace.run(
            "tc", "filter", "add", "dev", "xf0", "ingress", "prio", priority, "bpf", "da", "pinned", pinned
        )
    assert do(attacher.attached) == []


@pytest.mark.parametrize("hook", [*TC, *XDP])
def test_the_interface_goes(attacher, loaded, wire, do, hook):
    namespace, ifindex = wire
    do(attacher.attach, wanted(hook, ifindex))
    namespace.ip("link del xf0")
    assert do(attacher.attached) == []
    assert list(loaded.links.iterdir()) == []
    do(attacher.detach, wanted(hook, ifindex))
    with pytest.raises(XdpflannelError, match=str(ifindex)):
        do(attacher.attach, wanted(hook, ifindex))


def test_an_interface_number_used_again(attacher, loaded, wire, do):
    """The link of the one that is gone is dead; the new interface gets one of its own."""
    namespace, ifindex = wire
    do(attacher.attach, wanted(Hook.TCX, ifindex))
    namespace.ip("link del xf0")
    namespace.ip(f"link add xf0 index {ifindex} type veth peer name xf1")
    assert do(attacher.attach, wanted(Hook.TCX, ifindex)) is True
    assert do(attacher.attached) == [wanted(Hook.TCX, ifindex)]
    assert link_of(loaded).ifindex == ifindex


@pytest.mark.parametrize("hook", XDP)
def test_somebody_elses_xdp_program(attacher, loaded, wire, do, hook):
    namespace, ifindex = wire
    mode = "xdpgeneric" if hook is Hook.XDP_GENERIC else "xdpdrv"
    pinned = str(loaded.programs / "xdp_pod")
    namespace.run("ip", "link", "set", "xf0", mode, "pinned", pinned)
    with pytest.raises(XdpflannelError, match="another program holds the place") as caught:
        do(attacher.attach, wanted(hook, ifindex))
    assert "bpftool net" in caught.value.hint
    assert list(loaded.links.iterdir()) == []
    assert "xdp" in namespace.ip("link show xf0")


def test_links_of_another_version_are_taken_over(attacher, loaded, wire, do):
    """The very links, so that no packet meets a gap."""
    _, ifindex = wire
    do(attacher.attach, wanted(Hook.TCX, ifindex))
    do(attacher.attach, wanted(Hook.XDP_NATIVE, ifindex))
    old = pins.Pins(loaded.base.with_name("0123456789ab"))
    loaded.base.rename(old.base)
    loader.load(loaded, loader="libbpf")
    before = sorted(path.name for path in old.links.iterdir())
    (other,) = pins.others(loaded)
    assert other == old
    do(attacher.take_over, other)
    assert sorted(path.name for path in loaded.links.iterdir()) == before
    assert list(old.links.iterdir()) == []
    for attachment in do(attacher.attached):
        assert do(attacher.attach, attachment) is True
    pins.remove_tree(old.base)
    assert pins.others(loaded) == []
    done = subprocess.run(["bpftool", "-j", "prog"], capture_output=True, text=True, check=True)
    running = {program["id"] for program in json.loads(done.stdout)}
    for path in loaded.links.iterdir():
        with Link.from_pin(path) as link:
            assert link.facts.program_id in running
