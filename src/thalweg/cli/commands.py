"""The commands, their options and what ``--help`` says; what they do is loaded when they are called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import cyclopts
from cyclopts import Parameter, validators

from thalweg import __version__
from thalweg.cli.checkpoint_commands import checkpoint_commands
from thalweg.cli.fault_commands import error_commands, ledger
from thalweg.cli.replay_commands import compare, dev, promote
from thalweg.cli.serving import create_token, serve
from thalweg.cli.topic_commands import tail, topic_commands

_HELP = """Run event-driven programs over history, over live events, or over both.

PROGRAM is a Python file that makes a thalweg.App; where it makes several, name one: PROGRAM.py:app."""

_START = """Start here:

  thalweg demo                             real flights, live, for some seconds
  thalweg plan clicks.py                   what it will do, step by step
  thalweg batch clicks.py                  over all there is; prints its views
  thalweg run clicks.py --until caught-up  what is new since the last run
  thalweg run clicks.py                    live, until Ctrl-C

Exit codes: 0 done, 1 the run failed, 2 the command or the program is wrong."""

_COMPARED = "thalweg compare view:clicks/page_views view:clicks@2/page_views"

Program = Annotated[str, Parameter(help="The program's file, with :NAME if it makes more than one App.")]
Quiet = Annotated[bool, Parameter(help="Show results and errors only.", show_default=False)]
StepRows = Annotated[
    int | None,
    Parameter(help="The most rows that one step takes from each partition.", validator=validators.Number(gte=1)),
]
Delivery = Annotated[
    Literal["at_most_once", "at_least_once", "exactly_once"] | None,
    Parameter(
        help="How often a row must get to each sink: exactly_once refuses sinks that keep no record, at_most_once "
        "gives them nothing twice. Otherwise exactly once where a sink records what it has, at least once where not."
    ),
]


def main(tokens: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 the run failed, 2 the command or program is wrong.

    Args:
        tokens: The arguments; by default those that the process was given.
    """
    words = list(sys.argv[1:] if tokens is None else tokens)
    try:
        command, bound, _ = command_line().parse_args(words, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        from thalweg.cli.failures import WRONG, Failure, told

        named = ("run", "batch", "plan", "demo", "topic", "errors", "ledger", "checkpoint", "serve", "token")
        known = next((f"{word} " for word in words if word in named), "")
        known = next((f"{word} " for word in words if word in command_line()), "")
        message = f"{error}\nSee: thalweg {known}--help"
        return told(Failure("CommandError", message, None, None, WRONG), "--json" in words)
    if not command.__module__.startswith("thalweg.cli."):
        command(*bound.args, **bound.kwargs)  # --help and --version
        return 0
    from thalweg.cli.failures import FAILED, guarded

    # A live run that is stopped is done, also before it has begun; anything else is not.
    return guarded(
        command, bound, as_json="--json" in words, stopped=0 if command in (run, dev, serve, tail) else FAILED
    )


def command_line() -> cyclopts.App:
    """Return the parser of the command line."""
    app = cyclopts.App(
        name="thalweg",
        help=_HELP,
        help_epilogue=_START,
        help_format="plaintext",
        version=__version__,
        default_parameter=Parameter(negative=()),
    )
    for command, examples in (
        (run, ("thalweg run clicks.py", "thalweg run clicks.py --until caught-up --from earliest")),
        (batch, ("thalweg batch clicks.py", "thalweg batch clicks.py:app --json | head -3")),
        (plan, ("thalweg plan clicks.py", "thalweg plan clicks.py --diff")),
        (dev, ("thalweg dev clicks.py", "thalweg dev clicks.py --serve 127.0.0.1:8080")),
        (compare, ("thalweg compare late/ late@2/", _COMPARED, "thalweg compare a.parquet b.csv --key id --json")),
        (promote, ("thalweg promote clicks@2",)),
        (demo, ("thalweg demo", "thalweg demo flights --seconds 60 --speed 86400", "thalweg demo --list")),
        (serve, ("thalweg serve", "thalweg serve --host 0.0.0.0 --tokens tokens.toml --cert chain.pem --key key.pem")),
    ):
        app.command(command, help_epilogue="\n".join(["Examples:", "", *(f"  {line}" for line in examples)]))
    token = cyclopts.App(name="token", help="Make the tokens that thalweg serve asks for.", help_format="plaintext")
    token.command(create_token, name="create")
    app.command(token)
    app.command(topic_commands())
    app.command(error_commands())
    app.command(checkpoint_commands())
    app.command(ledger, help_epilogue="Examples:\n\n  thalweg ledger clicks")
    return app


def run(
    program: Program,
    /,
    *,
    until: Annotated[
        Literal["caught-up", "end"] | None,
        Parameter(
            help="When to stop: at what is there now (open windows wait in the state for the next run), or at the end "
            "of an input that is complete (all windows close, the state is sealed). Without it: when told to."
        ),
    ] = None,
    data: Annotated[Path | None, Parameter(help="Where the state is kept; .thalweg/apps/<app> otherwise.")] = None,
    checkpoint: Annotated[str, Parameter(help="How often the state is saved and outputs are committed.")] = "1s",
    max_step_rows: StepRows = None,
    quiet: Quiet = False,
    json: Annotated[
        bool, Parameter(help="Status, views and report as JSON objects, one a line.", show_default=False)
    ] = False,
    serve: Annotated[
        str | None,
        Parameter(help="HOST:PORT on loopback where HTTP is served while the run lives, such as 127.0.0.1:8080."),
    ] = None,
    memory: Annotated[
        str | None,
        Parameter(help="What state may take of the memory, such as 4GiB; half of the machine's otherwise."),
    ] = None,
    recover_from: Annotated[
        int | None,
        Parameter(
            help="The epoch of an older checkpoint to go on from where the last is damaged; thalweg checkpoint list "
            "shows those that are kept. Refused where an output has more than that.",
            validator=validators.Number(gte=1),
        ),
    ] = None,
    delivery: Delivery = None,
    replace_output: Annotated[
        bool,
        Parameter(
            help="Let a new state replace what another one has left in the sinks; without it they refuse the run.",
            show_default=False,
        ),
    ] = False,
    stop_timeout: Annotated[
        str, Parameter(help="How long Ctrl-C and SIGTERM give it to save the state and end; then it is ended.")
    ] = "30s",
    ignore_crash_loop: Annotated[
        bool,
        Parameter(help="Start though the runs before failed again and again at one place.", show_default=False),
    ] = False,
    start: Annotated[
        str | None,
        Parameter(
            name="--from",
            help="earliest, or a time such as 2026-03-01T10:00:00Z: read the sources anew from there, as a new version "
            "with a state and outputs beside those that are there. checkpoint: go on, as without it.",
        ),
    ] = None,
    version: Annotated[
        int | None,
        Parameter(help="The version to go on with; the current one otherwise.", validator=validators.Number(gte=1)),
    ] = None,
    allow_state_loss: Annotated[
        bool,
        Parameter(help="Go on without the state that plan --diff shows as lost.", show_default=False),
    ] = False,
) -> None:
    """Run live until Ctrl-C or SIGTERM, which save the state and stop; or until the end that is asked for.

    The state is kept on disk: the next run goes on where this one stopped.
    """
    from thalweg.cli.running import Wanted, run_program

    run_program(
        Wanted(
            program,
            until,
            data,
            checkpoint,
            max_step_rows,
            quiet,
            json,
            serve=serve,
            memory=memory,
            recover_from=recover_from,
            delivery=delivery,
            replace_output=replace_output,
            stop_timeout=stop_timeout,
            ignore_crash_loop=ignore_crash_loop,
            start=start,
            version=version,
            allow_state_loss=allow_state_loss,
        )
    )


def batch(
    program: Program,
    /,
    *,
    json: Annotated[
        bool, Parameter(help="The views as NDJSON, with the view's name in the field view.", show_default=False)
    ] = False,
    max_step_rows: StepRows = None,
    quiet: Quiet = False,
) -> None:
    """Run once over all there is, to the end, keep no state, and print the views."""
    from thalweg.cli.running import Wanted, run_program

    run_program(Wanted(program, "end", None, "1s", max_step_rows, quiet, json, fresh=True))


def plan(
    program: Program,
    /,
    *,
    diff: Annotated[
        bool,
        Parameter(
            help="What becomes of the state, step by step: kept, rebuilt from the sources, or lost.", show_default=False
        ),
    ] = False,
    data: Annotated[Path | None, Parameter(help="Where the state is; .thalweg/apps/<app> otherwise.")] = None,
) -> None:
    """Print what a program does as a tree, each step above what it reads; run nothing."""
    from thalweg.cli.program import load
    from thalweg.cli.versions import current_notes
    from thalweg.plan.show import tree

    app = load(program)
    if diff:
        from thalweg.cli.state_difference import difference_lines  # the engine loads when it is wanted

        print("\n".join(difference_lines(app.plan, data)))
    else:
        print("\n".join([app.name, *tree(app.plan), *current_notes(app.plan, data)]))


def demo(
    name: Annotated[str, Parameter(help="Which one; see --list.")] = "flights",
    /,
    *,
    seconds: Annotated[float, Parameter(help="For how long a live one runs.", validator=validators.Number(gt=0))] = 15,
    speed: Annotated[
        float | None,
        Parameter(
            help="flights: seconds of event time per second of the clock; 21600, six hours, otherwise.",
            validator=validators.Number(gt=0),
        ),
    ] = None,
    listed: Annotated[bool, Parameter(name="--list", help="List the demonstrations.", show_default=False)] = False,
) -> None:
    """Run a packaged program on packaged data."""
    from thalweg.cli.demonstrations import run_demo, show_list

    if listed:
        show_list()
    else:
        run_demo(name, seconds=seconds, speed=speed)
