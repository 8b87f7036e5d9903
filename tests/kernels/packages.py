"""Debian's kernels, unpacked into a cache without being installed.

Everything comes by apt. A series that this release does not offer is looked for in the release that has it,
by a copy of the machine's own sources with the release's name changed; that copy is used here only.
"""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from pathlib import Path

from attrs import frozen

HOME_OF = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie"}
"""Debian's release whose kernel a series is."""

# What tests need; unpacking all drivers would take 400 MB and most of the time.
_WANTED = (
    "./boot/vmlinuz-*",
    "./lib/modules/*/modules.*",
    "./lib/modules/*/kernel/net/*",
    "./lib/modules/*/kernel/lib/*",
    "./lib/modules/*/kernel/crypto/*",
    "./lib/modules/*/kernel/arch/*",
    "./lib/modules/*/kernel/fs/9p/*",
    "./lib/modules/*/kernel/fs/netfs/*",
    "./lib/modules/*/kernel/fs/fscache/*",
    "./lib/modules/*/kernel/fs/overlayfs/*",
    "./lib/modules/*/kernel/drivers/virtio/*",
    "./lib/modules/*/kernel/drivers/net/*.ko*",
    "./lib/modules/*/kernel/drivers/net/vxlan*",
)


class Unavailable(Exception):
    """A package cannot be had; the message says which and why."""


@frozen
class Kernel:
    """An unpacked kernel."""

    series: str
    package: str
    release: str
    """As `uname -r` says."""
    image: Path
    layer: Path
    """A folder with usr/lib/modules/RELEASE, to be laid over a root file system."""


def kernel(series: str, cache: Path) -> Kernel:
    """Fetch and unpack the newest kernel of a series, if the cache has not got it; raises Unavailable."""
    apt = _Apt(cache)
    package = _newest(apt.names(series), series)
    if package is None and series in HOME_OF:
        apt = apt.of_release(HOME_OF[series])
        package = _newest(apt.names(series), series)
    if package is None:
        raise Unavailable(f"apt offers no Debian kernel {series}")
    release = package.removeprefix("linux-image-")
    folder = cache / "kernels" / release
    if not folder.is_dir():
        fresh = folder.with_name(f"{release}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        _unpack_kernel(apt.download(package), fresh, release)
        fresh.rename(folder)
    return Kernel(series, package, release, folder / "vmlinuz", folder / "layer")


def busybox(cache: Path) -> Path:
    """A statically linked busybox, for the first steps in a machine."""
    target = cache / "busybox"
    if not target.exists():
        archive = _Apt(cache).download("busybox-static")
        folder = cache / "busybox.new"
        run("dpkg-deb", "-x", str(archive), str(folder))
        (folder / "bin" / "busybox").rename(target)
        shutil.rmtree(folder)
        archive.unlink()
    return target


def run(*command: str, cwd: Path | None = None) -> str:
    """Output of a command; Unavailable with what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(command[:3])} …: {done.stderr.strip()[-500:]}")
    return done.stdout


class _Apt:
    """apt with the machine's sources, or with a changed copy of them."""

    def __init__(self, cache: Path, options: tuple[str, ...] = ()) -> None:
        self._cache = cache
        self._options = options

    def of_release(self, name: str) -> _Apt:
        folder = self._cache / "apt" / name
        for part in ("lists/partial", "archives/partial", "sources.d"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        here = _codename()
        found = 0
        for path in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
            text = path.read_text() if path.is_file() else ""
            if re.search(rf"\b{here}\b", text) and "debian" in text:
                (folder / "sources.d" / path.name).write_text(re.sub(rf"\b{here}\b", name, text))
                found += 1
        if not found:
            raise Unavailable(f"no source of {here} to look for {name} beside it")
        settings = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": str(folder / "sources.d"),
            "Dir::State::Lists": str(folder / "lists"),
            "Dir::Cache::archives": str(folder / "archives"),
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
        }
        options = tuple(f"-o{key}={value}" for key, value in settings.items())
        # One suite of several may be gone (a release that became old loses its updates): take what there is.
        subprocess.run(["apt-get", *options, "-qq", "update"], capture_output=True, check=False)
        return _Apt(self._cache, options)

    def names(self, series: str) -> list[str]:
        pattern = rf"^linux-image-{re.escape(series)}\."
        found = run("apt-cache", *self._options, "search", "--names-only", pattern)
        return [line.split()[0] for line in found.splitlines()]

    def download(self, package: str) -> Path:
        folder = self._cache / "packages"
        folder.mkdir(parents=True, exist_ok=True)
        run("apt-get", *self._options, "-qq", "download", package, cwd=folder)
        return max(folder.glob(f"{package}_*.deb"), key=lambda path: path.stat().st_mtime)


def _codename() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise Unavailable("/etc/os-release names no release")


def _newest(names: list[str], series: str) -> str | None:
    """The highest version of the plain flavour (the cloud flavour has no 9p)."""
    plain = re.compile(rf"linux-image-{re.escape(series)}\.[0-9]+[+-](?!.*(?:cloud|rt|dbg|unsigned)).*amd64")
    fitting = [name for name in names if plain.fullmatch(name)]
    return max(fitting, key=lambda name: [int(part) for part in re.findall(r"\d+", name)], default=None)


def _unpack_kernel(archive: Path, folder: Path, release: str) -> None:
    plain = folder / "plain"
    plain.mkdir(parents=True)
    command = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards "${@:3}" 2>/dev/null'
    subprocess.run(["bash", "-c", command, "unpack", archive, plain, *_WANTED], check=False)
    image, modules = plain / "boot" / f"vmlinuz-{release}", plain / "lib" / "modules"
    if not image.exists() or not modules.exists():
        raise Unavailable(f"{archive.name} does not hold a kernel {release}")
    image.rename(folder / "vmlinuz")
    # /lib is a link to /usr/lib on the root that this is laid over.
    (folder / "layer" / "usr" / "lib").mkdir(parents=True)
    modules.rename(folder / "layer" / "usr" / "lib" / "modules")
    run("depmod", "-b", str(folder / "layer" / "usr"), release)
    shutil.rmtree(plain)
    archive.unlink()


def modules_for(kernel: Kernel, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    """File names and contents of modules with all they need, in the order in which they can be loaded.

    A name that the kernel has built in, or has not got, is left out.
    """
    top = kernel.layer / "usr" / "lib" / "modules" / kernel.release
    needs: dict[str, list[str]] = {}
    for line in (top / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    by_name = {_module_name(path): path for path in needs}
    order: dict[str, None] = {}
    for name in names:
        if name in by_name:
            # modules.dep lists what is needed last first (depmod(8)).
            order.update(dict.fromkeys([*reversed(needs[by_name[name]]), by_name[name]]))
    return [(f"{_module_name(path)}.ko", _plain(top / path)) for path in order]


def _module_name(path: str) -> str:
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def _plain(path: Path) -> bytes:
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data
