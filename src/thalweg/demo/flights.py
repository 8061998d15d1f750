"""Delays of the flights that left New York in 2013, by airport, carrier and hour.

The flights leave on a clock that runs faster than the wall clock, and belong to the hour in which they
were *to* leave: a delayed flight is an event that comes out of order, and may come late.
"""

import thalweg as tw
from thalweg import col, count
from thalweg.connect import flights, view
from thalweg.demo.flight_board import watch

SPEED = 21_600.0  # six hours a second


def program(speed: float | None = None) -> tw.App:
    """Return the program; the speed is in seconds of event time per second, by default as fast as can be."""
    app = tw.App("flights")
    departures = app.read(flights(speed=speed), time="scheduled", lateness="3h")
    departed = departures.with_columns(cancelled=col("dep_delay").is_null())
    figures = {
        "flights": count(),
        "cancelled": col("cancelled").sum(),
        "mean_delay": col("dep_delay").mean(),
        "max_delay": col("dep_delay").max(),
    }
    # Corrected with each departure, so that the hours can be seen to fill.
    departed.group_by("origin", "carrier").window("1h", emit="on_change").agg(**figures).write(view("delays"))
    departed.group_by("origin", "carrier_name").agg(**figures).write(view("totals"))
    return app


app = program()


def show(seconds: float, speed: float | None) -> None:
    """Run live for some seconds, with the hours filling on the terminal, and end with the totals."""
    watch(program(speed or SPEED), seconds)
