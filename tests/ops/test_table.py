"""Every op, at every sample, through every check: no skip list."""

import re
from pathlib import Path

import pytest

import wengert.ops  # noqa: F401  (fills the table)
from wengert.ops.base import OPS
from wengert.testing.op_checks import CHECKS

# Of the functions that take longest the first samples are quick, and all of them slow.
MANY = ("bessel_i", "gammainc", "gammaincc", "polygamma", "zeta")
CASES = [(name, 6 if name in MANY else None) for name in sorted(OPS)] + [
    pytest.param(name, None, marks=pytest.mark.slow) for name in MANY
]


@pytest.mark.parametrize(("name", "first"), CASES)
def test_op(name, first):
    samples = list(OPS[name].samples())[:first]
    assert samples, f"{name} has no samples"
    wrong = []
    for check in CHECKS:
        for i, sample in enumerate(samples):
            try:
                CHECKS[check](OPS[name], sample)
            except Exception as error:
                wrong.append(error)
                error.add_note(f"{name}, sample {i} {sample.label!r}, {check}")
    if wrong:
        raise ExceptionGroup(f"{name} fails {len(wrong)} checks", wrong)


def test_the_page_of_derivatives_lists_every_op():
    page = (Path(__file__).parents[2] / "docs" / "derivatives.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", page, re.M))
    assert listed == set(OPS), "run make docs-table"
