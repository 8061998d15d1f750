"""``thalweg compare``, ``promote`` and ``dev``: their options, and what ``--help`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from thalweg.core import places

Output = Annotated[
    str, Parameter(help="A file, a folder, a pattern, topic:NAME or view:APP/NAME, such as view:clicks@2/page_views.")
]


def compare(
    one: Output,
    other: Output,
    /,
    *,
    key: Annotated[
        tuple[str, ...],
        Parameter(
            help="A column that names a row, may be repeated: rows of one key are compared column by column. Two views "
            "of the same key are compared by it; else rows are compared whole, however often each is there."
        ),
    ] = (),
    tolerance: Annotated[
        float,
        Parameter(
            help="By how much floats may differ, as a part of the greater one, or as such where that is below 1.",
            validator=validators.Number(gte=0, lt=1),
        ),
    ] = 0.0,
    limit: Annotated[
        int, Parameter(help="How many rows of each kind of difference are shown.", validator=validators.Number(gte=0))
    ] = 10,
    log: Annotated[Path, Parameter(help="The embedded log that topics are in.")] = places.LOG,
    json: Annotated[
        bool, Parameter(help="The differences as JSON objects, one a line, the counts last.", show_default=False)
    ] = False,
) -> int:
    """Compare two outputs row by row: what only one has, and what has changed.

    Null equals null and NaN equals NaN. Ends with 0 if they are the same, with 1 if they differ.
    """
    from thalweg.cli import comparing

    return comparing.compare(comparing.Asked(one, other, key, tolerance, limit, log, json))


def promote(
    version: Annotated[str, Parameter(help="The app's name and the version: clicks@2.")],
    /,
    *,
    data: Annotated[
        Path | None, Parameter(help="The app's state directory, if it was given one with --data (without @2).")
    ] = None,
) -> None:
    """Make a version the one that runs of the app go on with; none of both versions may be running.

    It changes one file. The outputs keep their names, those of the version before too: promote that one to go back.
    """
    from thalweg.cli.versions import promote_version

    promote_version(version, data)


def dev(
    program: Annotated[str, Parameter(help="The program's file, with :NAME if it makes more than one App.")],
    /,
    *,
    data: Annotated[
        Path | None, Parameter(help="The app's state directory, if it has one of its own; what dev keeps is beside it.")
    ] = None,
    serve: Annotated[
        str | None, Parameter(help="HOST:PORT on loopback where HTTP is served while the program runs.")
    ] = None,
    quiet: Annotated[bool, Parameter(help="Show errors only.", show_default=False)] = False,
) -> None:
    """Run a program live, and again each time that it or a module beside it changes; until Ctrl-C or SIGTERM.

    It has a state and outputs of its own, called dev, beside those of the app: NAME@dev, late@dev/, clicks.dev.
    """
    from thalweg.cli.developing import develop

    develop(program, data, serve, quiet=quiet)
