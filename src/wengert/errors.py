"""Every error Wengert raises, and how its message is put together.

A message reads ``op: what is wrong: what was seen. Likely cure. (train.py:41)``.
This file imports nothing of Wengert.
"""

from __future__ import annotations

import contextlib
import os
import sys
from types import CodeType, FrameType

PACKAGE_DIR = os.path.dirname(os.path.abspath(__file__)) + os.sep

# The package's own code objects and those of others, by id because hashing a code object is slow; the codes
# are kept so that an id cannot be used again for another one.
INTERNAL: set[int] = set()
USERS: set[int] = set()
_codes: list[object] = []


class WengertError(RuntimeError):
    """Base of all errors; a RuntimeError because that is what PyTorch programs catch."""


class ShapeError(WengertError, ValueError):
    """Shapes do not fit together."""


class DTypeError(WengertError, TypeError):
    """A dtype is not supported, or dtypes do not fit together."""


class ArgumentError(WengertError, ValueError):
    """An argument has a value that the function cannot take."""


class IndexRangeError(WengertError, IndexError):
    """An index or a dimension number is out of range."""


class GraphError(WengertError):
    """The graph cannot do what was asked: backward twice, no gradient, modified leaf, and so on."""


class TraceError(WengertError):
    """A value was needed where only shape and dtype are known."""


class SingularError(WengertError):
    """A matrix is numerically singular, or a decomposition did not converge."""


class AnomalyError(WengertError):
    """``detect_anomaly`` found the op that made the first NaN."""


class CheckError(WengertError):
    """A compiled function gave something else than eager mode."""


class MissingExtra(WengertError, ImportError):
    """An optional library is not installed."""


def is_users(code: CodeType) -> bool:
    """Whether a code object is not the package's own."""
    if id(code) in USERS:
        return True
    if id(code) in INTERNAL:
        return False
    name = code.co_filename
    inside = (name.startswith(PACKAGE_DIR) and not name.endswith("demo.py")) or name.startswith("<wengert")
    inside = inside or name == contextlib.__file__  # stands between a `with` and the function that it enters
    _codes.append(code)
    (INTERNAL if inside else USERS).add(id(code))
    return not inside


def user_frame(frame: FrameType | None) -> FrameType | None:
    """The innermost frame at or above ``frame`` that is not Wengert's own."""
    while frame is not None and not is_users(frame.f_code):
        frame = frame.f_back
    return frame


def where() -> str:
    """The user's line, as ``(train.py:41)``; empty when there is none."""
    frame = user_frame(sys._getframe(1))
    if frame is None:
        return ""
    return f"({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})"


def message(op: str, wrong: str, seen: str = "", cure: str = "") -> str:
    """Put a message together in the one form that all errors have."""
    text = f"{op}: {wrong}"
    if seen:
        text += f": {seen}"
    text += "."
    if cure:
        text += f" {cure.rstrip('.')}."
    line = where()
    return f"{text} {line}" if line else text


def need(module: str, extra: str, what: str):
    """Import an optional library, or say which extra brings it.

    >>> need("math", "none", "doctest").floor(2.5)
    2
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            message(what, f"needs the library {module.split('.')[0]!r}", cure=f"pip install 'wengert[{extra}]'")
        ) from error
