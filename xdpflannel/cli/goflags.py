"""flanneld's command line: flags as Go's `flag` package reads them, on top of click.

Go takes one or two dashes, ``-flag=value`` or ``-flag value``, and booleans as ``-flag`` or ``-flag=false``
(source: pkg.go.dev/flag, "Command line flag syntax").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

# What strconv.ParseBool takes.
_TRUE = {"1", "t", "T", "true", "TRUE", "True"}
_FALSE = {"0", "f", "F", "false", "FALSE", "False"}


def go_bool(value: str | bool) -> bool:
    """Read a boolean as strconv.ParseBool does; usage error for anything that it refuses too."""
    if isinstance(value, bool):
        return value
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise click.BadParameter(f"{value!r} is neither true nor false")


class GoOption(click.Option):
    """A flag that belongs to a section of the help; ``boolean`` ones need no value."""

    def __init__(self, *args: Any, section: str = "Other", boolean: bool = False, **kwargs: Any) -> None:
        if boolean:
            kwargs |= {"type": go_bool, "metavar": "[=true|false]"}
        super().__init__(*args, **kwargs)
        self.section = section
        self.boolean = boolean

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the help line; a boolean's value must be attached, so it is shown attached."""
        record = super().get_help_record(ctx)
        return record and (record[0].replace(" [=", "[="), record[1])

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """Return the variable's value: always one, where click would split it at spaces."""
        value = self.resolve_envvar_value(ctx)
        return (value,) if self.multiple and value is not None else value


class GoCommand(click.Command):
    """A command whose flags follow Go's rules and whose help is in sections."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Bring Go's forms into click's and parse."""
        return super().parse_args(ctx, normalise(args, self.get_params(ctx)))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, section by section in the order of their declaration."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "section", "Other"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records, col_max=34)


def normalise(args: Sequence[str], params: Sequence[click.Parameter]) -> list[str]:
    """Return ``args`` as ``--flag=value`` words; what is no known flag stays, for click to judge."""
    options = [param for param in params if isinstance(param, click.Option)]
    kinds = {name.lstrip("-"): option for option in options for name in option.opts}
    rest = iter(args)
    result: list[str] = []
    for word in rest:
        if word == "--" or not word.startswith("-") or word == "-":
            # Go stops reading flags here; click says what is wrong with the rest.
            return [*result, word, *rest]
        name, equals, value = word.lstrip("-").partition("=")
        option = kinds.get(name)
        if option is None:
            result.append(f"--{word.lstrip('-')}" if len(name) > 1 else word)
        elif option.is_flag:
            result.append(f"--{name}" if len(name) > 1 else f"-{name}")
        elif equals:
            result.append(f"--{name}={value}")
        elif getattr(option, "boolean", False):
            result.append(f"--{name}=true")
        else:
            following = next(rest, None)
            result += [f"--{name}"] if following is None else [f"--{name}={following}"]
    return result
