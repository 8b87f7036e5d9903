"""JSON as Go's encoding/json reads it, which is what wrote and will read flannel's documents.

Member names match without regard to case, the last duplicate wins, unknown members are ignored, null leaves
the default, bytes that are not UTF-8 become U+FFFD, and NaN or Infinity are errors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from xdpflannel.errors import ConfigError


def loads(text: str | bytes) -> object:
    """Decode ``text``; objects become dicts whose names are case-folded, so look members up in lower case.

    Raises:
        ValueError: it is not JSON, or nested or long beyond reason; the message says where.
    """
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at line {error.lineno} column {error.colno}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def kind(value: object) -> str:
    """What JSON calls ``value``: for messages."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return {type(None): "null", list: "an array", dict: "an object"}.get(type(value), "something else")


def shown(value: object) -> str:
    """``value`` as JSON, cut to 60 characters: for messages."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def boolean(members: Mapping[str, object], name: str, *, default: bool) -> bool:
    """Member ``name`` of a configuration; ConfigError if it is no boolean."""
    value = members.get(name.casefold())
    if value is None:
        return default
    if not isinstance(value, bool):
        raise ConfigError(
            f"{name} is {shown(value)}, not a boolean", hint="write true or false, without quotes"
        )
    return value


def integer(members: Mapping[str, object], name: str, *, default: int) -> int:
    """Member ``name`` of a configuration; ConfigError if it is no whole number (24.0 and "24" are not)."""
    value = members.get(name.casefold())
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        hint = "write digits without quotes, fraction or exponent"
        raise ConfigError(f"{name} is {shown(value)}, not a whole number", hint=hint)
    return value


def _fold(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name.casefold(): value for name, value in pairs}


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Made once: json.loads with hooks would make one per call, and there are thousands of leases.
_DECODER = json.JSONDecoder(object_pairs_hook=_fold, parse_constant=_refuse)
