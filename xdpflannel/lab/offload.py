"""Offloads of an interface inside a namespace, by the ethtool program."""

from __future__ import annotations

from xdpflannel.lab.shell import inside, run


def offloads(netns: str, interface: str) -> dict[str, bool]:
    """Every feature by ethtool's long name ("generic-receive-offload"): on or off."""
    found: dict[str, bool] = {}
    for line in run(inside(netns, ["ethtool", "-k", interface])).splitlines()[1:]:
        name, _, value = line.partition(":")
        found[name.strip()] = value.split()[0] == "on"
    return found


def set_offloads(netns: str, interface: str, **wanted: bool) -> None:
    """Switch features by ethtool's short names: ``set_offloads(pod, "eth0", tx=False, gro=True)``.

    LabError if the interface refuses.
    """
    settings = [
        word for name, on in wanted.items() for word in (name.replace("_", "-"), "on" if on else "off")
    ]
    run(inside(netns, ["ethtool", "-K", interface, *settings]))
