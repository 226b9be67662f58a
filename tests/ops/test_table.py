"""Every op, at every sample, through every check: no skip list."""

import re
from pathlib import Path

import pytest

import wengert.ops  # noqa: F401  (fills the table)
from wengert.ops.base import OPS
from wengert.testing.op_checks import CHECKS


@pytest.mark.parametrize("name", sorted(OPS))
def test_op_has_samples(name):
    assert list(OPS[name].samples()), f"{name} has no samples"


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", sorted(OPS))
def test_op(name, check):
    for i, sample in enumerate(OPS[name].samples()):
        try:
            CHECKS[check](OPS[name], sample)
        except Exception as error:
            raise AssertionError(f"{name}, sample {i} {sample.label!r}, {check}: {error}") from error


def test_the_page_of_derivatives_lists_every_op():
    page = (Path(__file__).parents[2] / "docs" / "derivatives.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert listed == set(OPS), "run make docs-table"
