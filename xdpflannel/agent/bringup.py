"""From nothing to a node with a lease: configuration, uplink, device, lease, subnet.env."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from attrs import frozen

from xdpflannel.agent import footprint
from xdpflannel.agent.settings import Settings
from xdpflannel.errors import ConfigError, NetworkConfigMissing, StoreDenied, StoreUnavailable, Unsupported
from xdpflannel.host.device import VxlanSpec, ensure_device_address, ensure_vxlan_device
from xdpflannel.host.netlink import Netlink
from xdpflannel.host.subnet_env import SubnetEnv, read_previous_subnet, write_subnet_env
from xdpflannel.host.uplink import UplinkSelection, choose_uplink
from xdpflannel.leases.claim import claim
from xdpflannel.leases.etcd import EtcdOptions, EtcdStore
from xdpflannel.leases.store import LeaseStore, OpenStore, Snapshot
from xdpflannel.model.config import NetworkConfig, parse_network_config
from xdpflannel.model.host import Uplink, VxlanDevice
from xdpflannel.model.lease import Lease, LeaseAttributes, Vtep
from xdpflannel.model.net import OVERHEAD_IPV4, Mac
from xdpflannel.table.forwarding import BACKEND_TYPE

log = structlog.get_logger()

_RETRY_SECONDS = 1.0

Result = TypeVar("Result")


@frozen
class Started:
    """A node that holds a lease."""

    config: NetworkConfig
    uplink: Uplink
    device: VxlanDevice
    lease: Lease
    spec: VxlanSpec


class Stopped(Exception):
    """We were told to stop while waiting."""


def opener(settings: Settings) -> OpenStore:
    """Return what opens a connection to the lease store."""
    options = EtcdOptions(
        endpoints=settings.etcd_endpoints,
        prefix=settings.etcd_prefix,
        ca_file=_path(settings.etcd_cafile),
        cert_file=_path(settings.etcd_certfile),
        key_file=_path(settings.etcd_keyfile),
        username=settings.etcd_username,
        password=settings.etcd_password,
    )
    return lambda: EtcdStore(options)


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def patiently(stop: threading.Event, open_store: OpenStore, action: Callable[[LeaseStore], Result]) -> Result:
    """Do something with a store, trying again each second until it works; say why not, once per reason.

    Raises Stopped if we are told to stop, and every error that waiting does not mend.
    """
    said = ""
    while not stop.is_set():
        try:
            store = open_store()
            try:
                return action(store)
            finally:
                store.close()
        except (StoreUnavailable, StoreDenied, NetworkConfigMissing) as error:
            if str(error) != said:
                said = str(error)
                log.warning("store.awaited", reason=said, hint=error.hint)
        stop.wait(_RETRY_SECONDS)
    raise Stopped


def find_uplink(netlink: Netlink, settings: Settings) -> Uplink:
    """Choose the uplink by flannel's flags."""
    selection = UplinkSelection(
        names=settings.iface,
        regexes=settings.iface_regex,
        can_reach=settings.iface_can_reach,
        public_ip=settings.public_ip,
    )
    uplink = choose_uplink(netlink, selection)
    log.info(
        "uplink.chosen",
        interface=uplink.name,
        address=str(uplink.address),
        public_ip=str(uplink.public_ip),
        mtu=uplink.mtu,
        driver=uplink.driver,
    )
    return uplink


def start(
    netlink: Netlink, settings: Settings, uplink: Uplink, open_store: OpenStore, stop: threading.Event
) -> Started:
    """Read the configuration, make flannel.N, take a lease, write subnet.env."""
    text, snapshot = patiently(stop, open_store, lambda store: (store.network_config(), store.snapshot()))
    config = _usable(_parsed(text, settings))
    spec = device_spec(config, uplink, _own_mac(snapshot, uplink))
    device = ensure_vxlan_device(netlink, spec)
    footprint.add_device(settings.run_dir, device.name, str(device.mac))
    attributes = LeaseAttributes(
        public_ip=uplink.public_ip,
        backend_type=BACKEND_TYPE,
        vtep=Vtep(mac=device.mac, vni=device.vni),
    )
    previous = read_previous_subnet(settings.subnet_file)
    lease = patiently(
        stop,
        open_store,
        lambda store: claim(store, config, attributes, previous, random.SystemRandom()),
    )
    log.info("lease.claimed", subnet=str(lease.key), public_ip=str(uplink.public_ip), mac=str(device.mac))
    started = Started(config, uplink, device, lease, spec)
    dress_device(netlink, started)
    write_subnet_env(
        settings.subnet_file, SubnetEnv(network=config.network, subnet=lease.key.subnet, mtu=device.mtu)
    )
    return started


def dress_device(netlink: Netlink, started: Started) -> None:
    """Give flannel.N its address."""
    subnet, network = started.lease.key.subnet, started.config.network
    if subnet is not None and network is not None:
        ensure_device_address(netlink, started.device, subnet, network)


def device_spec(config: NetworkConfig, uplink: Uplink, mac: Mac | None) -> VxlanSpec:
    """Return flannel.N as the configuration wants it; its MTU is the underlay's less the overhead."""
    backend = config.backend
    return VxlanSpec(
        name=f"flannel.{backend.vni}",
        vni=backend.vni,
        port=backend.port,
        local=uplink.public_ip,
        lower=uplink.ifindex,
        mtu=(backend.mtu or uplink.mtu) - OVERHEAD_IPV4,
        mac=mac,
        learning=backend.learning,
    )


def _own_mac(snapshot: Snapshot, uplink: Uplink) -> Mac | None:
    """The MAC that our lease promised: kept across a reboot, it spares every peer a change."""
    for lease in snapshot.leases:
        attributes = lease.attributes
        if attributes.public_ip == uplink.public_ip and attributes.vtep and attributes.vtep.mac.is_unicast:
            return attributes.vtep.mac
    return None


def _parsed(text: str, settings: Settings) -> NetworkConfig:
    try:
        return parse_network_config(text)
    except ConfigError as error:
        raise ConfigError(f"{settings.etcd_prefix}/config in etcd: {error}", hint=error.hint) from error


def _usable(config: NetworkConfig) -> NetworkConfig:
    if config.enable_ipv6 or not config.enable_ipv4:
        raise Unsupported(
            "the network configuration enables IPv6, which this version does not forward yet",
            hint='use {"EnableIPv6": false}, or run flanneld on this network',
        )
    if config.backend.direct_routing:
        log.warning(
            "config.option_ignored",
            option="DirectRouting",
            reason="every peer is reached by VXLAN in this version; peers accept that",
        )
    return config
