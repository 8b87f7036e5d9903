"""Where the C sources and the prebuilt objects are, and the hash that names their ABI."""

from __future__ import annotations

import hashlib
import os
import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent
_ABI_FILES = ("include/xf/abi.h", "maps.h", "maps/libbpf.h")
_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)

MAIN = "xdpflannel.c"


@cache
def folder() -> Path:
    """Return the folder with the C sources: inside an installed package, beside it in a checkout."""
    installed = _PACKAGE / "_bpf"
    return installed if installed.is_dir() else _PACKAGE.parent / "bpf"


@cache
def abi_hash() -> str:
    """Return 12 hex digits that change when a map or a shared struct changes.

    Comments and white space do not count. The hash is part of the pin path and of a prebuilt object's name,
    so that neither can be taken for what it is not.
    """
    digest = hashlib.sha256()
    for name in _ABI_FILES:
        text = _COMMENT.sub(" ", (folder() / name).read_text())
        digest.update(" ".join(text.split()).encode())
    return digest.hexdigest()[:12]


def object_folder() -> Path:
    """Return where prebuilt objects are looked for."""
    override = os.environ.get("XDPFLANNEL_OBJECT_DIR")
    return Path(override) if override else folder() / "build"


def prebuilt_object() -> Path | None:
    """Return the object that ``make -C bpf`` built for this ABI, None if there is none."""
    path = object_folder() / f"xdpflannel-{abi_hash()}.o"
    return path if path.is_file() else None


def flattened() -> str:
    """Return the programs as one text, every quoted include put in its place once.

    bcc rewrites map look-ups in the main text only (docs/decisions/004-one-source-two-loaders.md).
    """
    return _flatten(folder() / MAIN, set())


def _flatten(path: Path, seen: set[Path]) -> str:
    path = path.resolve()
    if path in seen:
        return ""
    seen.add(path)
    lines = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        include = _INCLUDE.match(line)
        if include is None:
            lines.append(line)
        elif include[1] != "maps/libbpf.h":
            nested = _flatten(path.parent / include[1], seen)
            # Compiler messages then name the file that a person can edit.
            lines.append(f'#line 1 "{include[1]}"\n{nested}\n#line {number + 1} "{path.name}"')
    return "\n".join(lines)
