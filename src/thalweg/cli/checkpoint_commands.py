"""``thalweg checkpoint …``: its options, and what ``--help`` says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter, validators

AppName = Annotated[str, Parameter(help="The app's name, or its program: FILE.py or FILE.py:NAME.")]
Data = Annotated[Path | None, Parameter(help="The app's state directory, if it was given one with --data.")]
Json = Annotated[bool, Parameter(help="One JSON object a line.", show_default=False)]
Epoch = Annotated[
    int | None,
    Parameter(help="The epoch, as list tells it; that of the newest otherwise.", validator=validators.Number(gte=1)),
]


def checkpoint_commands() -> cyclopts.App:
    """Return the parser of ``thalweg checkpoint``."""
    app = cyclopts.App(
        name="checkpoint",
        help="Look at the checkpoints that an app keeps, check them, and take state out; also while it runs.",
        help_format="plaintext",
        default_parameter=Parameter(negative=()),
    )
    for command, examples in (
        (list_, ("thalweg checkpoint list clicks",)),
        (show, ("thalweg checkpoint show clicks", "thalweg checkpoint show clicks --epoch 41")),
        (verify, ("thalweg checkpoint verify clicks",)),
        (export, ('thalweg checkpoint export clicks "group_by(page).agg" state/',)),
    ):
        epilogue = "\n".join(["Examples:", "", *(f"  {line}" for line in examples)])
        app.command(command, name=command.__name__.rstrip("_"), help_epilogue=epilogue)
    return app


def list_(app: AppName, /, *, json: Json = False, data: Data = None) -> None:
    """Print the checkpoints that are kept, the newest first: any of them can be gone on from."""
    from thalweg.cli import checkpoints

    checkpoints.show_list(checkpoints.found(app, data), json=json)


def show(app: AppName, /, *, epoch: Epoch = None, json: Json = False, data: Data = None) -> None:
    """Print what a checkpoint holds: state per step, watermarks, positions, rows that outputs are owed."""
    from thalweg.cli import checkpoints

    checkpoints.show(checkpoints.found(app, data), epoch, json=json)


def verify(app: AppName, /, *, json: Json = False, data: Data = None) -> None:
    """Read every file of every checkpoint that is kept, and name what is damaged: exit code 1 if anything is."""
    from thalweg.cli import checkpoints

    checkpoints.verify(checkpoints.found(app, data), json=json)


def export(
    app: AppName,
    step: Annotated[str, Parameter(help="The step, as show tells it.")],
    folder: Annotated[Path, Parameter(help="Where the files go; made if there is none.")],
    /,
    *,
    epoch: Epoch = None,
    format: Annotated[Literal["parquet", "arrow"], Parameter(help="Of which format the files are.")] = "parquet",
    data: Data = None,
) -> None:
    """Write the state of a step as files of tables: one for each frame that the step keeps."""
    from thalweg.cli import checkpoints

    checkpoints.export(checkpoints.found(app, data), epoch, checkpoints.Wanted(step, folder, format))
