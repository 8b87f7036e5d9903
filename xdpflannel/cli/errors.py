"""How a command ends: an error becomes a sentence for people and an exit status, never a bare traceback."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import click

from xdpflannel.errors import EXIT_FAULT, ProgramRejected, XdpflannelError


def report(program: str, error: XdpflannelError, *, verbose: bool = False) -> int:
    """Say on stderr what failed and what to do; return the exit status that fits."""
    click.echo(f"{program}: {error}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
    if verbose and isinstance(error, ProgramRejected) and error.log:
        click.echo(error.log, err=True)
    return error.exit_code


def guarded(program: str, action: Callable[[], int], *, verbose: bool = False, more: str) -> int:
    """Run ``action`` and return its exit status; every error is reported.

    ``more`` is the flag by which a user sees the traceback of an unexpected error and the full log of a
    rejected program; ``verbose`` says that it was given.
    """
    try:
        return action()
    except XdpflannelError as error:
        return report(program, error, verbose=verbose)
    except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence before the user
        click.echo(f"{program}: unexpected {type(error).__name__}: {error}".rstrip(": "), err=True)
        where = "" if verbose else f"; {more} shows where it happened"
        click.echo(f"  this is a mistake in xdpflannel, please report it{where}", err=True)
        if verbose:
            click.echo(traceback.format_exc(), err=True)
        return EXIT_FAULT
