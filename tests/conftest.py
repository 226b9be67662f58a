"""What every test gets: one thread, a fixed seed, and Hypothesis' profiles."""

import faulthandler
import gc
import os
import signal
import sys
import time
from collections.abc import Generator
from typing import Any, ClassVar

# Before NumPy is imported: xdist's workers share the cores, and a sum's order must not depend on them.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ |= {"MPLBACKEND": "Agg"}
os.environ |= {"WENGERT_HELPERS": "0"}  # for the same reason; test_crew.py has its own

import pytest
from hypothesis import HealthCheck, settings

# `ci` draws the same examples each time, so that a failure is a change's own; `nightly` searches.
# Deadlines are off: a first call may compile, and a busy machine is no fault.
settings.register_profile(
    "ci", derandomize=True, max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile("ci")


class Watch:
    """Prints where every thread is when a test takes longer than five minutes.

    pytest's ``faulthandler_timeout`` starts and ends a thread for every test, which on a busy machine takes longer than
    the test itself; here the clock is set anew once a minute.
    """

    seconds, pause = 300, 60
    file: ClassVar[Any] = None
    set_at = -pause

    @classmethod
    def look(cls) -> None:
        """Set the clock, if it is time to."""
        now = time.monotonic()
        if cls.file is not None and now - cls.set_at >= cls.pause:
            faulthandler.dump_traceback_later(cls.seconds + cls.pause, file=cls.file)
            cls.set_at = now


def pytest_runtest_setup() -> None:
    """Before each test."""
    Watch.look()


def pytest_unconfigure() -> None:
    """After all of them."""
    faulthandler.cancel_dump_traceback_later()


def pytest_configure() -> None:
    """A run in the background inherits an ignored SIGINT, and so would the programs that the tests interrupt."""
    if sys.__stderr__ is not None:  # a copy, for tests run with another standard error
        Watch.file = os.fdopen(os.dup(sys.__stderr__.fileno()), "w")
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before those marked slow are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test marked ``quick(name=values)`` the cases with other values of its parameters are slow."""
    for item in items:
        if (mark := item.get_closest_marker("quick")) is not None:
            params = item.callspec.params  # type: ignore[attr-defined]
            if any(params[name] not in values for name, values in mark.kwargs.items()):
                item.add_marker("slow")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Ten thousand collected tests live to the end: the garbage collector need not walk them, now or later."""
    gc.disable()
    result = yield
    gc.collect()
    gc.freeze()
    gc.enable()
    return result


@pytest.fixture(autouse=True)
def seed() -> None:
    """Start every test from the same random numbers, whatever ran before it."""
    import wengert as wg

    wg.manual_seed(0)
