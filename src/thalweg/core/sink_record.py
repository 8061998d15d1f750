"""What a target records of the output that it has, and what that says about who may write to it.

The record stands in the target itself and changes with the rows in one act. It is the only thing that can tell a run
that goes on from one that is not the output's: each sink reads it, and these rules decide.
"""

from __future__ import annotations

from dataclasses import dataclass

from thalweg.core.errors import SinkError
from thalweg.core.ports import WriteRequest


@dataclass(frozen=True, slots=True)
class SinkRecord:
    """Which output a target has.

    Attributes:
        app: The app's name.
        run: The random id of the state that the rows come from.
        term: The last start on that state; 0: a batch, or a run without a state, with which nobody goes on.
        epoch: The last epoch that the target has.
    """

    app: str
    run: str
    term: int
    epoch: int


def goes_on(record: SinkRecord | None, request: WriteRequest, target: str, *, empty: bool) -> bool:
    """Tell whether a run goes on with what a target has; False: it starts anew, and what is there is replaced.

    Args:
        record: What the target says of itself; None: nothing.
        request: Who wants to write.
        target: What the target is called in messages.
        empty: Whether there is nothing that a start could take away from somebody.

    Raises:
        SinkError: What is there belongs to someone else, and must not be touched.
    """
    if record is not None and record.run == request.run:
        _check_term(record, request.term, target)
        return True
    if request.epoch:
        has = "no record any more of what" if record is None else "something else by now than what"
        raise SinkError(
            f"{target} has {has} this state has written there, up to epoch {request.epoch}. Restore it from a copy; or "
            "start anew: name another data=, and another output or replace_output=True (--replace-output)"
        )
    if record is not None and (record.term == 0 or request.fresh):
        return False
    if (record is None and empty) or request.foreign == "replaced":
        return False
    if record is None:
        raise SinkError(
            f"{target} has rows, and no record of who wrote them. Replace them (replace_output=True, "
            "--replace-output), delete them, or name another output"
        )
    raise _foreign(record, target)


def may_apply(found: SinkRecord | None, own: SinkRecord, epoch: int, previous: int, target: str) -> bool:
    """Tell whether an epoch is to be written; False: the target has it already.

    Args:
        found: What the target says of itself now, in the act that would write.
        own: What the writer left there last.
        epoch: The epoch.
        previous: The epoch before it that had rows for this target; 0 for none.
        target: What the target is called in messages.

    Raises:
        SinkError: Somebody else has written there since, or an epoch is missing in between.
    """
    if found is None or found.run != own.run:
        raise SinkError(
            f"{target} has by now the output of another run, or none; nothing was written. Stop one of the two, and "
            "give its app another data= and another output"
        )
    _check_term(found, own.term, target)
    if found != own:
        raise SinkError(
            f"{target} has epoch {found.epoch} of this state from another run, which goes on with a copy of it; stop "
            "one of the two, and give its app another data= and another output"
        )
    if epoch <= own.epoch:
        return False
    if previous != own.epoch:
        raise SinkError(
            f"{target} has the output up to epoch {own.epoch}, and epoch {epoch} comes after {previous}: what is "
            "between is missing. Restore the output or the state that fits, or start anew with another data= and "
            "another output"
        )
    return True


def _check_term(record: SinkRecord, term: int, target: str) -> None:
    if record.term > term:
        raise SinkError(
            f"{target} is written by a later start of this app ({record.term}; this is start {term}); this one must "
            "end: stop it"
        )


def _foreign(record: SinkRecord, target: str) -> SinkError:
    return SinkError(
        f"{target} has the output of another state of the app {record.app}. Go on with the state that wrote it (name "
        "its data=), replace what is there (replace_output=True, --replace-output), or name another output"
    )
