"""Make the data of the packaged demonstrations: ``python tools/make_demo_data.py``.

Everything is drawn from one seed, so the files are the same each time. People are numbers: nobody is meant.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent / "src" / "thalweg" / "demo" / "data"
_SEED = 2013
_START = datetime(2026, 3, 1, 10, tzinfo=UTC)
_DEPARTMENTS = ("Finance", "Logistics", "Marketing", "Operations", "Research", "Sales", "Support")
_EMPLOYEES = 200
_CLICKS = 5_000
_LATE_EVERY = 400
_SESSIONS = {"2026-03-01": 240, "2026-03-02": 310, "2026-03-03": 275}

# As logs have them: a line cut off, one that is no JSON, a missing field, values that break the schema's rules.
_MALFORMED = {
    700: '{"user": "user 12", "page": "/product/3", "ms": 8',
    1_500: "-- log rotated --",
    2_200: '{"user": "user 40", "ms": 120, "ts": "2026-03-01T10:04:24.000Z"}',
    2_900: '{"user": "user 7", "page": "", "ms": 35, "ts": "2026-03-01T10:05:48.000Z"}',
    3_600: '{"user": "user 3", "page": "/cart", "ms": -4, "ts": "2026-03-01T10:07:12.000Z"}',
    4_300: '{"user": "user 91", "page": "/home", "ms": "fast", "ts": "2026-03-01T10:08:36.000Z"}',
    4_800: '{"user": "user 5", "page": "/home", "ms": 20, "ts": "yesterday"}',
}


def employees(rng: random.Random) -> str:
    """Return the employees as CSV."""
    lines = ["id,name,department,salary"]
    for number in range(1, _EMPLOYEES + 1):
        department = _DEPARTMENTS[int(rng.random() * len(_DEPARTMENTS))]
        salary = 30_000 + int(rng.random() ** 2 * 900) * 100
        lines.append(f"{number},Employee {number},{department},{salary}")
    return "\n".join(lines) + "\n"


def sessions(rng: random.Random, day: str, number: int) -> str:
    """Return a day's sessions as NDJSON: few visitors come often."""
    begin = datetime.fromisoformat(day).replace(tzinfo=UTC)
    lines = []
    for index in range(number):
        visitor = int(rng.random() ** 1.5 * 30) + 1
        pages = [f"/page/{int(rng.random() * 12)}" for _ in range(1 + int(rng.random() * 5))]
        at = begin + timedelta(seconds=int(86_400 * index / number))
        lines.append(json.dumps({"visitor": f"visitor {visitor}", "pages": pages, "ts": f"{at:%Y-%m-%dT%H:%M:%SZ}"}))
    return "\n".join(lines) + "\n"


def clicks(rng: random.Random) -> str:
    """Return ten minutes of clicks as NDJSON: up to 5 s out of order, some minutes too late, some lines malformed."""
    pages = ["/home", "/search", "/cart", *(f"/product/{number}" for number in range(1, 6))]
    lines = []
    for index in range(_CLICKS):
        if index in _MALFORMED:
            lines.append(_MALFORMED[index])
            continue
        behind_s = rng.random() * 5
        if index % _LATE_EVERY == _LATE_EVERY - 1:
            behind_s += 60 + rng.random() * 60
        at = max(_START, _START + timedelta(milliseconds=120 * index) - timedelta(seconds=behind_s))
        click = {
            "user": f"user {int(rng.random() ** 2 * 120) + 1}",
            "page": pages[int(rng.random() ** 1.5 * len(pages))],
            "ms": int(15 + rng.random() ** 4 * 900),
            "ts": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
        }
        lines.append(json.dumps(click))
    return "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """Return every file's text by its path under the data folder."""
    rng = random.Random(_SEED)
    made = {"employees.csv": employees(rng)}
    made |= {f"visits/{day}.ndjson": sessions(rng, day, number) for day, number in _SESSIONS.items()}
    return made | {"clicks.ndjson": clicks(rng)}


if __name__ == "__main__":
    for name, text in files().items():
        path = DATA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
