"""Coefficients of the polynomials in `src/wengert/codegen/math*.py`: weighted minimax fits by Remez' exchange.

``python tools/minimax.py NAME`` prints the fit of that name, or of all, highest power first, and its error in units
of the last place of the function it is for. Source: Remez 1934; Muller, "Elementary Functions" (3rd ed., 2016), ch. 3.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np

mp.mp.dps = 60
half_ln2 = mp.log(2) / 2 * mp.mpf("1.001")


class Fit(NamedTuple):
    """Polynomial p of a degree such that max |weight(x) (p(x) - f(x))| on [a, b] is least."""

    f: Callable[[Any], Any]
    weight: Callable[[Any], Any]
    a: Any
    b: Any
    degree: int
    digits: int


def even(f: Callable[[Any], Any], first: Any) -> Callable[[Any], Any]:
    """For an odd f with f(x) = first x + ...: (f(x)/x - first) / x**2 as a function of x**2."""
    return lambda z: (f(mp.sqrt(z)) / mp.sqrt(z) - first) / z


def odd_fit(f: Callable[[Any], Any], b: Any, degree: int, digits: int) -> Fit:
    return Fit(even(f, 1), lambda z: z * mp.sqrt(z) / f(mp.sqrt(z)), mp.mpf("1e-12"), b, degree, digits)


def exp_rest(r: Any) -> Any:
    return (mp.expm1(r) - r) / r**2


def log_rest(f: Any) -> Any:
    return (mp.log1p(f) - f + f**2 / 2) / f**3


def cos_rest(z: Any) -> Any:
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


LOG_RANGE = (mp.sqrt(0.5) - 1 - mp.mpf("1e-4"), mp.sqrt(2) - 1 + mp.mpf("1e-4"))
QUARTER = (mp.pi / 4 * mp.mpf("1.001")) ** 2
FITS: dict[str, Fit] = {}
for _name, _digits, _degrees in (("f32", 24, (4, 7, 2, 2, 4, 8, 3)), ("f64", 53, (9, 19, 5, 5, 11, 19, 6))):
    _exp, _log, _sin, _cos, _asin, _atan, _sinh = _degrees
    FITS |= {
        f"exp_{_name}": Fit(exp_rest, lambda r: r**2 / mp.exp(r), -half_ln2, half_ln2, _exp, _digits),
        f"log_{_name}": Fit(log_rest, lambda f: f**3 / mp.log1p(f), *LOG_RANGE, _log, _digits),
        f"sin_{_name}": odd_fit(mp.sin, QUARTER, _sin, _digits),
        f"cos_{_name}": Fit(cos_rest, lambda z: z**2, mp.mpf("1e-12"), QUARTER, _cos, _digits),
        f"asin_{_name}": odd_fit(mp.asin, mp.mpf("0.2501"), _asin, _digits),
        f"atan_{_name}": odd_fit(mp.atan, mp.mpf(1), _atan, _digits),
        f"sinh_{_name}": odd_fit(mp.sinh, mp.mpf(1), _sinh, _digits),
    }
FITS["exp_pow_f32"] = FITS["exp_f32"]._replace(degree=5, digits=53)
FITS["log_pow_f32"] = FITS["log_f32"]._replace(degree=11, digits=53)
FITS["log_pow_f64"] = Fit(
    lambda z: (2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) - 2 - 2 * z / 3) / z**2, lambda z: z**2, mp.mpf("1e-12"),
    mp.mpf("0.0296"), 7, 53,
)  # fmt: skip


def fraction_rest(z: Any) -> Any:
    r = mp.sqrt(z)
    return (r / mp.tanh(r) - 1) / z


FITS["even_f32"] = Fit(fraction_rest, lambda z: 2 * z * mp.sqrt(z), mp.mpf("1e-12"), (half_ln2 / 2) ** 2, 1, 24)


def tail(f: Callable[[Any], Any], k: Any) -> Callable[[Any], Any]:
    """(y + k) f(y) of q = (y - k) / (y + k)."""

    def of(q: Any) -> Any:
        y = k * (1 + q) / (1 - q)
        return (y + k) * f(y)

    return of


_ERFC = tail(lambda y: mp.exp(y**2) * mp.erfc(y), mp.mpf(2))
_NDTR = tail(lambda y: mp.exp(y**2 / 2) * mp.ncdf(-y), mp.mpf(4))
FITS["erfc_f32"] = Fit(_ERFC, lambda q: 1 / _ERFC(q), mp.mpf(-1), mp.mpf("0.671"), 10, 24)
FITS["ndtr_f32"] = Fit(_NDTR, lambda q: 1 / _NDTR(q), mp.mpf(-1), mp.mpf("0.579"), 9, 24)
FITS["erf_near_f32"] = odd_fit(lambda x: mp.erf(x) * mp.sqrt(mp.pi) / 2, mp.mpf("0.9") ** 2, 5, 24)
FITS["erf_far_f32"] = Fit(
    lambda x: mp.log(mp.erfc(x)), lambda x: mp.erfc(x) / mp.erf(x), mp.mpf("0.9"), mp.mpf("3.95"), 7, 24
)


def remez(fit: Fit, rounds: int = 12) -> tuple[list[Any], Any]:
    """Coefficients, lowest power first, and the largest weighted error."""
    n, a, b = fit.degree + 2, mp.mpf(fit.a), mp.mpf(fit.b)
    grid = [(a + b) / 2 - (b - a) / 2 * mp.cos(mp.pi * i / 1500) for i in range(1501)]
    grid = [x for x in grid if abs(x) > mp.mpf("1e-9")]
    values, weights = [fit.f(x) for x in grid], [fit.weight(x) for x in grid]
    points = [round(i * (len(grid) - 1) / (n - 1)) for i in range(n)]
    c: list[Any] = []
    worst = mp.mpf(0)
    for _ in range(rounds):
        m, rhs = mp.matrix(n, n), mp.matrix(n, 1)
        for row, i in enumerate(points):
            for k in range(n - 1):
                m[row, k] = grid[i] ** k
            m[row, n - 1] = (-1) ** row / weights[i]
            rhs[row] = values[i]
        solution = mp.lu_solve(m, rhs)
        c = list(solution)[:-1]
        error = [w * (mp.polyval(c[::-1], x) - v) for x, v, w in zip(grid, values, weights, strict=True)]
        worst = max(map(abs, error))
        if worst <= abs(solution[n - 1]) * mp.mpf("1.0005"):
            break
        points = extrema(error, n)
    return c, worst


def extrema(error: list[Any], n: int) -> list[int]:
    """Positions of the largest error in each run of one sign; the n largest neighbours."""
    runs: list[int] = []
    for i, e in enumerate(error):
        if runs and mp.sign(error[runs[-1]]) == mp.sign(e):
            if abs(e) > abs(error[runs[-1]]):
                runs[-1] = i
        else:
            runs.append(i)
    while len(runs) > n:
        runs = runs[1:] if abs(error[runs[0]]) < abs(error[runs[-1]]) else runs[:-1]
    assert len(runs) == n, f"{len(runs)} extrema, not {n}"
    return runs


def main() -> None:
    for name in sys.argv[1:] or FITS:
        fit = FITS[name]
        c, worst = remez(fit)
        rounded = [str(np.float32(float(x))) if fit.digits == 24 else repr(float(x)) for x in reversed(c)]
        print(name, "error in ulp:", mp.nstr(worst * mp.mpf(2) ** fit.digits, 3))
        print("   ", ", ".join(rounded))


if __name__ == "__main__":
    main()
