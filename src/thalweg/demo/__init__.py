"""Packaged programs, each with its data: ``thalweg demo NAME``.

Every module is a program as a user writes one, so ``thalweg run`` and ``thalweg batch`` take its file too;
``show`` is what ``thalweg demo`` does with it.
"""

from typing import Final

DEMOS: Final = {
    "flights": "delays of real flights by airport, carrier and hour, filling live as they leave",
    "clicks": "page views per minute from a log with late and malformed lines",
    "employees": "the highest salary of each department, as functions and as expressions",
    "visits": "the top three visitors, by a full load and by loads of what is new",
    "logs": "log files and posted lines, counted by level and rule as they are written, with alerts",
}
