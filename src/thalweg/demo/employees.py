"""The highest salary of each department, written twice: as functions of rows, and as expressions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

import thalweg as tw
from thalweg import col
from thalweg.connect import files, view

EMPLOYEES = Path(__file__).parent / "data" / "employees.csv"

app = tw.App("employees")


@dataclass
class Employee:
    """A line of the file."""

    id: int
    name: str
    department: str
    salary: Annotated[int, Ge(0)]


@dataclass
class Pay:
    """What an employee of a department earns."""

    department: str
    salary: int


def pay(employee: dict[str, Any]) -> Pay:
    """Map an employee to the department and the salary."""
    return Pay(employee["department"], employee["salary"])


def higher(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Reduce two rows of a department to the one with the higher salary."""
    return one if one["salary"] >= other["salary"] else other


employees = app.read(files(EMPLOYEES), schema=Employee)

employees.map(pay).reduce_by_key("department", higher).write(view("by_functions"))
employees.group_by("department").agg(salary=col("salary").max()).write(view("by_expressions"))


def show() -> None:
    """Print the highest salary of each department, and check that both forms agree."""
    report = app.batch()
    for row in report.view("by_functions").to_pylist():
        print(f"{row['department']:<12} {row['salary']:>9,}")
    same = report.view("by_functions").equals(report.view("by_expressions"))
    print(
        f"\n{report.rows_in} employees in {report.seconds:.2f} s; "
        f"functions and expressions give {'the same' if same else 'DIFFERENT'} rows"
    )
