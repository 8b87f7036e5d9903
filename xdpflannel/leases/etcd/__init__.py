"""Leases in etcd v3, under flannel's keys.

`store` and `watch` know flannel's keys, `member` knows gRPC and the etcd3 package, `refusals` what errors
mean.
"""

from xdpflannel.leases.endpoints import Endpoint, EtcdOptions
from xdpflannel.leases.etcd.store import EtcdStore
from xdpflannel.leases.etcd.watch import EtcdWatch

__all__ = ["Endpoint", "EtcdOptions", "EtcdStore", "EtcdWatch"]
