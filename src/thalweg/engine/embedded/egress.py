"""All that leaves a run: its sinks, and the topics of late and rejected rows, from one checkpoint to the next."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace

from thalweg.core.outage import Outage, Patience
from thalweg.engine.contract import RunOptions
from thalweg.engine.embedded.asides import ASIDES, Aside, Kind
from thalweg.engine.embedded.checkpoint import Checkpoints
from thalweg.engine.embedded.delivery import Delivery
from thalweg.engine.embedded.outputs import Beginning, Outlet, SinkOutlet
from thalweg.engine.embedded.posting import OutboxDelivery
from thalweg.engine.embedded.tray import Tray


class Egress:
    """The ways out of a run.

    Args:
        app: The app's name.
        options: How it is run.
        outlets: The ends of its streams.
        tray: Where late and rejected rows are.
        patience: How long sinks are waited for.
    """

    def __init__(
        self, app: str, options: RunOptions, outlets: Sequence[Outlet], tray: Tray, patience: Patience
    ) -> None:
        self._patience = patience
        self._app = app
        self._options = options
        self._outlets = outlets
        self._tray = tray
        self._asides: dict[Kind, Aside] = {}

    def begin(self, checkpoints: Checkpoints | None) -> None:
        """Open every output; those of late and rejected rows only where they are owed something.

        Raises:
            SinkError: One cannot be opened, or does not fit the state.
        """
        options, patience = self._options, self._patience
        if checkpoints is None:
            beginning = Beginning(self._app, secrets.token_hex(16), fresh=options.fresh, patience=patience)
        else:
            start = checkpoints.start()
            beginning = Beginning(
                self._app,
                start.run,
                start.term,
                directory=options.data,
                foreign="replaced" if options.replace_output else "refused",
                repeats=options.delivery != "at_most_once",
                owed=checkpoints.outputs,
                recovers=options.recover_from is not None,
                patience=patience,
                version=options.version,
                beside=options.beside,
                reached=options.reached,
            )
            # Late and rejected rows of all the states that an app has had stand beside each other.
            joining = replace(beginning, foreign="joined")
            self._asides = {kind: Aside(kind, self._app, options.log_path, joining) for kind in ASIDES}
        for outlet in self._outlets:
            outlet.begin(beginning)
        for aside in self._asides.values():
            aside.begin()

    def seal(self, epoch: int) -> dict[str, OutboxDelivery]:
        """End an epoch; return the outputs whose rows the manifest is to name."""
        for kind, rows in zip(self._asides, self._tray.unsaved(), strict=False):
            self._asides[kind].put(rows)
        deliveries = self.deliveries()
        for delivery in deliveries:
            delivery.seal(epoch)
        return {d.name: d for d in deliveries if isinstance(d, OutboxDelivery)}

    def deliver(self, epoch: int) -> None:
        """Say that an epoch is committed."""
        for delivery in self.deliveries():
            delivery.deliver(epoch)

    def full(self) -> bool:
        """Tell whether as much waits for a sink as may, so that nothing more is to be read.

        Raises:
            SinkError: A sink has failed.
        """
        return any([delivery.full() for delivery in self.deliveries()])

    def waiting_bytes(self) -> int:
        """Return what waits on disk for sinks; from any thread."""
        return sum(delivery.waiting_bytes for delivery in self.deliveries())

    def outages(self) -> list[Outage]:
        """Return what keeps rows from sinks at the moment; from any thread."""
        return [outage for delivery in self.deliveries() for outage in delivery.outages()]

    def deliveries(self) -> list[Delivery]:
        """Return the ways that are open."""
        ways = [outlet.delivery for outlet in self._outlets if isinstance(outlet, SinkOutlet)]
        ways += [aside.delivery for aside in list(self._asides.values())]
        return [way for way in ways if way is not None]
