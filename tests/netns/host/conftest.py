"""A node in a namespace: an uplink to a neighbour, as the host room sees it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from attrs import frozen

from xdpflannel.host.netlink import Netlink

ADDRESS = IPv4Address("192.0.2.1")
PEER = IPv4Address("192.0.2.2")


@frozen
class Node:
    """Two namespaces wired as eth0 (192.0.2.1/24) to eth0 (192.0.2.2/24)."""

    here: Any
    there: Any
    netlink: Netlink


@pytest.fixture
def netlink(namespace) -> Iterator[Netlink]:
    """Netlink of one otherwise empty namespace."""
    with Netlink(namespace.name) as opened:
        yield opened


@pytest.fixture
def node(namespace, make_namespace, netlink) -> Node:
    """A node with an uplink."""
    other = make_namespace()
    namespace.ip(f"link add eth0 type veth peer name eth0 netns {other.name}")
    for side, address in ((namespace, ADDRESS), (other, PEER)):
        side.ip(f"addr add {address}/24 dev eth0")
        side.ip("link set eth0 up")
    return Node(namespace, other, netlink)
