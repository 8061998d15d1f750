"""``thalweg errors …`` and ``thalweg ledger``: their options, and what ``--help`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter, validators

AppName = Annotated[str, Parameter(help="The app's name.")]
Data = Annotated[Path | None, Parameter(help="The app's state directory, if it was given one with --data.")]
LogPath = Annotated[Path | None, Parameter(name="--log", help="The log, if it is another than the app's own.")]
Late = Annotated[bool, Parameter(help="Rows that came late instead of rejected ones.", show_default=False)]
Json = Annotated[bool, Parameter(help="One JSON object a line.", show_default=False)]


def error_commands() -> cyclopts.App:
    """Return the parser of ``thalweg errors``."""
    app = cyclopts.App(
        name="errors",
        help="Look at the rows that an app has rejected, or that came late, and send rejected ones again.",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
    )
    for command, examples in (
        (list_, ("thalweg errors list clicks", "thalweg errors list clicks --late")),
        (show, ("thalweg errors show clicks 17",)),
        (redrive, ('thalweg errors redrive clicks --reason "division by zero"',)),
    ):
        epilogue = "\n".join(["Examples:", "", *(f"  {line}" for line in examples)])
        app.command(command, name=command.__name__.rstrip("_"), help_epilogue=epilogue)
    return app


def list_(app: AppName, /, *, late: Late = False, json: Json = False, data: Data = None, log: LogPath = None) -> None:
    """Print how many rows each step put aside, and why."""
    from thalweg.cli.faults import Where, show_list

    show_list(Where(app, data, log), "late" if late else "errors", json=json)


def show(
    app: AppName,
    offset: Annotated[int, Parameter(help="The row's offset, as list tells it.", validator=validators.Number(gte=0))],
    /,
    *,
    late: Late = False,
    json: Json = False,
    data: Data = None,
    log: LogPath = None,
) -> None:
    """Print one row whole, with its reason and traceback."""
    from thalweg.cli import faults

    faults.show(faults.Where(app, data, log), "late" if late else "errors", offset, json=json)


def redrive(
    app: AppName,
    offsets: Annotated[tuple[int, ...], Parameter(help="The rows' offsets; all rejected rows otherwise.")] = (),
    /,
    *,
    step: Annotated[str | None, Parameter(help="Only rows that this step rejected.")] = None,
    reason: Annotated[str | None, Parameter(help="Only rows whose reason has this text.")] = None,
    again: Annotated[bool, Parameter(help="Also rows that were sent before.", show_default=False)] = False,
    dry_run: Annotated[bool, Parameter(help="Only say how many rows there would be.", show_default=False)] = False,
    data: Data = None,
    log: LogPath = None,
) -> None:
    """Send rejected rows again, to the step that rejected them, when program or data were mended.

    The app's next run takes them, or the one that is on. Rows that came late are not sent again: a window that has
    closed stays as it is; to count them, rebuild the app's state from its input.
    """
    from thalweg.cli import faults

    chosen = faults.Chosen(step, reason, offsets, again)
    faults.redrive(faults.Where(app, data, log), chosen, dry=dry_run)


def ledger(app: AppName, /, *, json: Json = False, data: Data = None) -> None:
    """Print what became of every row, step by step, as of the last checkpoint."""
    from thalweg.cli import faults

    faults.ledger(faults.Where(app, data), json=json)
