"""How the tests are run: sizes, seeds, and what a missing server means.

Two sizes. ``make test`` is the size "test"; ``THALWEG_TORTURE=1`` (``make torture``) is the size
"torture", fifty times as many examples. Only this module reads the variable: a test takes its number of
examples from the Hypothesis profile (``settings.default.max_examples`` for one ``@given``, a multiple
or a fraction of it where a property is split or cheap) or from the fixture ``torture``.

One seed for the whole run, printed at the top and with each failure: ``--hypothesis-seed=N`` repeats it.
Tests that draw at random on their own do so from the fixture ``rng``, which that seed and the test's name decide.
"""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, Phase, settings

TORTURE = os.environ.get("THALWEG_TORTURE", "") not in ("", "0")
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

# No deadline: the machine is shared, and a slow example is not a wrong one (the test has a timeout).
# No database: the run's seed repeats a failure, on any machine.
settings.register_profile(
    "test",
    max_examples=200,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=[Phase.explicit, Phase.generate, Phase.target, Phase.shrink],
)
settings.register_profile("torture", settings.get_profile("test"), max_examples=10_000)
settings.load_profile("torture" if TORTURE else "test")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Draw the run's seed before Hypothesis reads it; xdist hands the option to its workers."""
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    """Print what repeats this run."""
    size = "torture" if TORTURE else "test"
    return f"thalweg: size {size}, repeat with --hypothesis-seed={config.option.hypothesis_seed}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the seed with each failure; in CI, count a skipped test of a real server as failed."""
    report = yield
    if report.failed:
        report.sections.append(("Seed", f"repeat with --hypothesis-seed={item.config.option.hypothesis_seed}"))
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if IN_CI and skipped and item.get_closest_marker("services"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI promises its server: {report.longrepr}"
    return report


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """Return the seed of this test: the run's and the test's name, so that each test repeats alone."""
    return f"{request.config.option.hypothesis_seed}:{request.node.nodeid}"


@pytest.fixture
def rng(seed: str) -> random.Random:
    """Return a source of random numbers that the run's seed decides."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def torture() -> bool:
    """Whether this is the long form of the tests."""
    return TORTURE
