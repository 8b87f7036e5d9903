"""Only what is needed of pyroute2 is loaded, and whoever wants all of it still gets it."""

import subprocess
import sys

SCRIPT = """
import sys
import xdpflannel.host.netlink
few = sum(name.startswith("pyroute2") for name in sys.modules)
from pyroute2 import IPRoute
with IPRoute() as ip:
    print(few, "asyncio" in sys.modules, ip.link_lookup(ifname="lo"))
"""


def test_pyroute2():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    few, _, lo = done.stdout.split()
    assert int(few) < 40
    assert lo == "[1]"
