import itertools
import random
import threading
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Address, IPv6Network

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from xdpflannel.errors import ConfigError, LeaseError, LeaseLost, OutOfSubnets, StoreUnavailable, SubnetTaken
from xdpflannel.leases import codec
from xdpflannel.leases.allocate import choose, fits, is_free
from xdpflannel.leases.claim import LeaseKeeper, OwnLease, claim, own_lease_state
from xdpflannel.leases.memory import MemoryServer, MemoryStore
from xdpflannel.leases.store import LeaseDeleted, LeasePut, Skipped
from xdpflannel.leases.watch import LeaseEvents, LeaseSnapshot, StoreHealth
from xdpflannel.model.config import NetworkConfig, parse_network_config
from xdpflannel.model.lease import Lease, LeaseAttributes, SubnetKey

MakeLease = Callable[..., Lease]
MakeAttributes = Callable[..., LeaseAttributes]


def network(members: str) -> NetworkConfig:
    return parse_network_config('{"Backend":{"Type":"vxlan"},' + members + "}")


# flannel's own test of acquiring.
CONFIG = network('"Network":"10.3.0.0/16","SubnetMin":"10.3.1.0","SubnetMax":"10.3.25.0"')
OTHERS = ["10.3.1.0/24", "10.3.2.0/24", "10.3.4.0/24", "10.3.5.0/24", "10.3.31.0/24"]
FREE = {f"10.3.{number}.0/24" for number in (3, *range(6, 26))}


def key(subnet: str, subnet6: str | None = None) -> SubnetKey:
    return SubnetKey(IPv4Network(subnet), subnet6 and IPv6Network(subnet6))


@pytest.fixture
def server(lease: MakeLease) -> MemoryServer:
    server = MemoryServer()
    for subnet in OTHERS:
        MemoryStore(server).create(lease(subnet, "1.1.1.1"), 600)
    return server


def take(
    server: MemoryServer, attributes: LeaseAttributes, previous: SubnetKey | None = None, **options: object
) -> Lease:
    settings = {"config": CONFIG, "rng": random.Random(), **options}
    return claim(MemoryStore(server), settings["config"], attributes, previous, settings["rng"], ttl=3600)


def test_a_free_subnet_then_the_same_again(server: MemoryServer, attributes: MakeAttributes) -> None:
    first = take(server, attributes("1.2.3.4"))
    assert str(first.key) in FREE
    assert first.expires_at is not None
    assert MemoryStore(server).get(first.key) == first
    again = take(server, attributes("1.2.3.4", mac="02:00:00:00:00:99"))
    assert again.key == first.key
    assert str(MemoryStore(server).get(first.key).attributes.vtep.mac) == "02:00:00:00:00:99"


def test_every_free_subnet_may_be_chosen(lease: MakeLease) -> None:
    taken = [lease(subnet).key for subnet in OTHERS]
    rng = random.Random(1)
    assert {str(choose(CONFIG, taken, rng)) for _ in range(2000)} == FREE


@pytest.mark.parametrize(
    ("members", "taken", "first", "last", "count"),
    [
        ('"Network":"10.0.0.0/8"', [], "10.0.1.0/24", "10.0.100.0/24", 100),
        ('"Network":"10.0.0.0/8"', ["10.0.1.0/24", "10.0.2.0/24"], "10.0.3.0/24", "10.0.102.0/24", 100),
        ('"Network":"10.0.0.0/8"', ["10.0.1.0/24", "10.0.3.0/24"], "10.0.2.0/24", "10.0.102.0/24", 100),
        ('"Network":"10.0.0.0/8"', ["10.0.0.0/22"], "10.0.4.0/24", "10.0.103.0/24", 100),
        ('"Network":"10.0.0.0/8"', ["10.0.2.128/30"], "10.0.1.0/24", "10.0.101.0/24", 100),
        ('"Network":"10.3.0.0/16","SubnetMax":"10.3.25.0"', [], "10.3.1.0/24", "10.3.25.0/24", 25),
        ('"Network":"10.0.0.0/22"', [], "10.0.1.0/24", "10.0.3.0/24", 3),
    ],
)
def test_the_first_hundred_free_are_candidates(
    members: str, taken: list[str], first: str, last: str, count: int
) -> None:
    config = network(members)
    held = [key(subnet) for subnet in taken]
    rng = random.Random(1)
    found = {choose(config, held, rng).subnet for _ in range(3000)}
    assert len(found) == count
    assert (str(min(found)), str(max(found))) == (first, last)


def test_out_of_subnets(server: MemoryServer, attributes: MakeAttributes, lease: MakeLease) -> None:
    config = network('"Network":"10.0.0.0/22"')
    for number in (1, 2, 3):
        MemoryStore(server).create(lease(f"10.0.{number}.0/24", "1.1.1.1"), 600)
    with pytest.raises(OutOfSubnets, match=r"10\.0\.1\.0 to 10\.0\.3\.0") as caught:
        take(server, attributes("1.2.3.4"), config=config)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("previous", "kept"),
    [("10.3.6.0/24", True), ("10.4.1.0/24", False), ("10.3.1.0/24", False), ("10.3.6.0/25", False)],
)
def test_the_previous_subnet(
    server: MemoryServer, attributes: MakeAttributes, previous: str, kept: bool
) -> None:
    found = take(server, attributes("1.2.3.4"), key(previous))
    assert str(found.key) in FREE
    assert (found.key == key(previous)) >= kept


def test_a_changed_configuration_gives_the_old_lease_back(
    server: MemoryServer, attributes: MakeAttributes
) -> None:
    old = take(server, attributes("1.2.3.4"))
    new = take(server, attributes("1.2.3.4"), config=network('"Network":"10.4.0.0/16"'))
    assert MemoryStore(server).get(old.key) is None
    assert new.key.subnet.subnet_of(IPv4Network("10.4.0.0/16"))


def test_a_reservation_is_used_and_stays_one(server: MemoryServer, attributes: MakeAttributes) -> None:
    server.put("subnets/10.3.20.0-24", b'{"PublicIP":"1.2.3.4"}')
    found = take(server, attributes("1.2.3.4"))
    assert found.key == key("10.3.20.0/24")
    assert found.reserved
    assert found.expires_at is None
    assert MemoryStore(server).get(found.key).reserved


def test_a_reservation_that_does_not_fit_is_left_alone(
    server: MemoryServer, attributes: MakeAttributes
) -> None:
    server.put("subnets/10.9.20.0-24", b'{"PublicIP":"1.2.3.4"}')
    assert str(take(server, attributes("1.2.3.4")).key) in FREE
    assert MemoryStore(server).get(key("10.9.20.0/24")) is not None


def test_it_goes_on_when_others_are_quicker(server: MemoryServer, attributes: MakeAttributes) -> None:
    class Contested(MemoryStore):
        losses = 0

        def create(self, lease: Lease, ttl: int | None) -> Lease:
            if self.losses:
                Contested.losses -= 1
                raise SubnetTaken("too late")
            return super().create(lease, ttl)

    Contested.losses = 9
    store = Contested(server)
    assert str(claim(store, CONFIG, attributes("1.2.3.4"), None, random.Random()).key) in FREE
    Contested.losses = 10
    with pytest.raises(LeaseError, match="10 times in a row"):
        claim(store, CONFIG, attributes("1.2.3.5"), None, random.Random())


def test_unreadable_entries_keep_their_subnet(server: MemoryServer, attributes: MakeAttributes) -> None:
    config = network('"Network":"10.0.0.0/22"')
    server.put("subnets/10.0.1.0-24", b"junk")
    server.put("subnets/10.0.2.0-24", b"junk")
    server.put("subnets/10.0.3.0-0", b"{}")
    assert take(server, attributes("1.2.3.4"), config=config).key == key("10.0.3.0/24")


def test_a_node_needs_a_public_ip(server: MemoryServer) -> None:
    with pytest.raises(ConfigError, match="public IP"):
        take(server, LeaseAttributes(None))


DUAL = network('"Network":"10.3.0.0/16","EnableIPv6":true,"IPv6Network":"fc00::/48"')
ONLY6 = network('"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"')


def test_dual_stack_among_ipv4_only_leases(server: MemoryServer, attributes: MakeAttributes) -> None:
    """Stock flannel panics on the first IPv4-only lease."""
    mine = evolve(attributes("1.2.3.4"), public_ip6=IPv6Address("2001:db8::1"))
    found = take(server, mine, config=DUAL)
    assert fits(found.key, DUAL)
    assert take(server, mine, config=DUAL).key == found.key
    assert not fits(found.key, CONFIG)


def test_ipv6_only_nodes_are_known_by_their_ipv6_address(server: MemoryServer) -> None:
    one, two = (LeaseAttributes(None, IPv6Address(f"2001:db8::{n}")) for n in (1, 2))
    first, second = take(server, one, config=ONLY6), take(server, two, config=ONLY6)
    assert first.key != second.key
    assert first.key.subnet is None
    assert take(server, one, config=ONLY6).key == first.key


SUBNETS = st.builds(
    lambda number, length: IPv4Network((10 << 24 | number << 4, length), strict=False),
    st.integers(0, 1 << 10),
    st.integers(18, 30),
)


@given(st.lists(SUBNETS, max_size=12), st.integers(20, 28), st.integers())
def test_what_is_chosen_is_free_and_fits(subnets: list[IPv4Network], length: int, seed: int) -> None:
    config = network(f'"Network":"10.0.0.0/18","SubnetLen":{length}')
    taken = [SubnetKey(subnet) for subnet in subnets]
    first = int(config.subnet_min)
    every = [
        SubnetKey(IPv4Network((start, length)))
        for start in range(first, int(config.subnet_max) + 1, 1 << (32 - length))
    ]
    free = [candidate for candidate in every if is_free(candidate, taken)]
    if not free:
        with pytest.raises(OutOfSubnets):
            choose(config, taken, random.Random(seed))
        return
    assert choose(config, taken, random.Random(seed)) in free[:100]


def test_own_lease_state(lease: MakeLease, attributes: MakeAttributes) -> None:
    own, other = lease("10.5.1.0/24"), lease("10.5.2.0/24", "192.0.2.2")
    taken = evolve(own, attributes=attributes("192.0.2.2"))
    changed = evolve(own, attributes=attributes(mac="02:00:00:00:00:77"))
    broken = Skipped("…/10.5.1.0-24", "junk", own.key)
    renewed = evolve(own, expires_at=99.0)
    table = [
        (LeaseSnapshot((own, other), ()), OwnLease.HELD),
        (LeaseSnapshot((renewed,), ()), OwnLease.HELD),
        (LeaseSnapshot((other,), ()), OwnLease.GONE),
        (LeaseSnapshot((taken,), ()), OwnLease.TAKEN),
        (LeaseSnapshot((changed,), ()), OwnLease.CHANGED),
        (LeaseSnapshot((own,), (broken,)), OwnLease.CHANGED),
        (LeaseEvents((LeasePut(other),), ()), OwnLease.HELD),
        (LeaseEvents((LeaseDeleted(other.key),), ()), OwnLease.HELD),
        (LeaseEvents((LeaseDeleted(own.key),), ()), OwnLease.GONE),
        (LeaseEvents((LeaseDeleted(own.key), LeasePut(own)), ()), OwnLease.HELD),
        (LeaseEvents((LeaseDeleted(own.key), LeasePut(taken)), ()), OwnLease.TAKEN),
        (LeaseEvents((LeasePut(changed),), ()), OwnLease.CHANGED),
        (LeaseEvents((), (broken,)), OwnLease.CHANGED),
        (StoreHealth(up=False, detail="gone"), OwnLease.HELD),
    ]
    for update, expected in table:
        assert own_lease_state(own, update) is expected, update


class Timeline:
    """A clock that waiting moves. Runs a keeper without a second of real time."""

    def __init__(self, until: float) -> None:
        self.now = 0.0
        self.until = until

    def clock(self) -> float:
        return self.now

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        self.now += max(seconds, 0.001)
        if self.now >= self.until:
            stop.set()
        return stop.is_set()


class Kept:
    """What a keeper did, by time."""

    def __init__(self, hours: float, lease: Lease, ttl: int | None = 86400) -> None:
        self.time = Timeline(hours * 3600)
        self.server = MemoryServer(clock=self.time.clock)
        self.lease = MemoryStore(self.server).create(lease, ttl)
        self.renewed: list[float] = []
        self.failed: list[tuple[float, Exception]] = []

    def run(
        self, margin: float = 3600.0, on_failed: Callable[[Exception], None] | None = None
    ) -> LeaseKeeper:
        def failed(error: Exception) -> None:
            self.failed.append((self.time.now, error))
            if on_failed is not None:
                on_failed(error)

        keeper = LeaseKeeper(
            lambda: MemoryStore(self.server),
            self.lease,
            margin,
            lambda _: self.renewed.append(self.time.now / 3600),
            failed,
            clock=self.time.clock,
            wait=self.time.wait,
        )
        keeper.run(threading.Event())
        return keeper


def test_a_lease_is_renewed_an_hour_before_it_ends(lease: MakeLease) -> None:
    kept = Kept(72, lease())
    keeper = kept.run()
    assert kept.renewed == pytest.approx([23, 46, 69], abs=0.1)
    assert keeper.lease.expires_at == pytest.approx((69 + 24) * 3600, abs=200)
    assert MemoryStore(kept.server).get(lease().key) == lease()


def test_a_failed_renewal_is_tried_each_minute(lease: MakeLease) -> None:
    kept = Kept(24, lease())
    kept.server.fail(StoreUnavailable("etcd is away", hint="wait"))

    def recover(_: Exception) -> None:
        if len(kept.failed) == 5:
            kept.server.fail(None)

    kept.run(on_failed=recover)
    times = [time for time, _ in kept.failed]
    assert len(times) == 5
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx(
        [60] * 4, rel=0.01
    )
    assert len(kept.renewed) == 1


def test_an_expired_lease_is_taken_again_if_still_free(lease: MakeLease) -> None:
    kept = Kept(60, lease())
    kept.server.fail(StoreUnavailable("etcd is away", hint="wait"))

    def recover(_: Exception) -> None:
        if kept.time.now > 30 * 3600:
            kept.server.fail(None)

    kept.run(on_failed=recover)
    assert kept.renewed[0] == pytest.approx(30, abs=0.1)
    assert MemoryStore(kept.server).get(lease().key) == lease()


def test_another_nodes_lease_is_never_overwritten(lease: MakeLease) -> None:
    kept = Kept(60, lease())
    MemoryStore(kept.server).overwrite(lease(public_ip="192.0.2.9"), 10**6)
    kept.run()
    assert kept.renewed == []
    [(_, error)] = kept.failed
    assert isinstance(error, LeaseLost)
    assert "192.0.2.9" in str(error)
    assert str(MemoryStore(kept.server).get(lease().key).attributes.public_ip) == "192.0.2.9"


def test_a_reservation_is_not_renewed(lease: MakeLease) -> None:
    kept = Kept(72, lease(), ttl=None)
    requests = kept.server.requests
    kept.run()
    assert (kept.renewed, kept.failed, kept.server.requests) == ([], [], requests)


def test_a_margin_longer_than_the_lease_is_no_hot_loop(lease: MakeLease) -> None:
    kept = Kept(72, lease())
    kept.run(margin=10**6)
    assert len(kept.renewed) == pytest.approx(6, abs=1)


def test_new_attributes_are_published_and_kept(lease: MakeLease, attributes: MakeAttributes) -> None:
    server = MemoryServer()
    claimed = MemoryStore(server).create(lease(), 60)
    keeper = LeaseKeeper(lambda: MemoryStore(server), claimed, 3600, print, print)
    changed = attributes(mac="02:00:00:00:00:77")
    assert keeper.publish(changed).attributes == changed
    assert MemoryStore(server).get(claimed.key).attributes == changed
    server.put(f"subnets/{codec.format_key(claimed.key)}", b"junk", 60)
    keeper.publish(changed)
    assert MemoryStore(server).get(claimed.key).attributes == changed
    MemoryStore(server).overwrite(lease(public_ip="192.0.2.9"), 60)
    with pytest.raises(LeaseLost):
        keeper.publish(attributes())
    assert keeper.lease.attributes == changed
