"""Checks on scalar parameters, shared by the mechanisms and the accountants.

Every guarantee in `tacit.privacy` holds for a stated range of its parameters. These functions
return the plain Python number or raise; a bool, a string or a NaN never becomes a number by
coercion.
"""

import math
from numbers import Integral, Real

from tacit.privacy.errors import BadParameter


def positive_real(name: str, value: object, *, maximum: float = math.inf) -> float:
    """Return `value` as a float in ``(0, maximum]``.

    Raises:
        BadParameter: It is no real number, is a bool, NaN, infinite, not positive, or above
            `maximum`.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadParameter(f"{name}: expected a real number, got {type(value).__name__}")
    number = float(value)
    if not math.isfinite(number) or number <= 0.0:
        raise BadParameter(f"{name}: expected a finite number above 0, got {number!r}")
    if number > maximum:
        raise BadParameter(f"{name}: expected at most {maximum!r}, got {number!r}")
    return number


def positive_integer(name: str, value: object, *, maximum: int | None = None) -> int:
    """Return `value` as an int in ``[1, maximum]``.

    Raises:
        BadParameter: It is no integer, is a bool, is below 1, or is above `maximum`.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise BadParameter(f"{name}: expected an integer, got {type(value).__name__}")
    number = int(value)
    if number < 1:
        raise BadParameter(f"{name}: expected at least 1, got {number}")
    if maximum is not None and number > maximum:
        raise BadParameter(f"{name}: expected at most {maximum}, got {number}")
    return number


def natural(name: str, value: object) -> int:
    """Return `value` as an int of at least 0.

    Raises:
        BadParameter: It is no integer, is a bool, or is negative.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise BadParameter(f"{name}: expected an integer, got {type(value).__name__}")
    number = int(value)
    if number < 0:
        raise BadParameter(f"{name}: expected at least 0, got {number}")
    return number


def open_unit(name: str, value: object) -> float:
    """Return `value` as a float strictly between 0 and 1, such as a target delta.

    Raises:
        BadParameter: It is no real number, is a bool or NaN, or lies outside ``(0, 1)``.
    """
    number = positive_real(name, value)
    if number >= 1.0:
        raise BadParameter(f"{name}: expected a number below 1, got {number!r}")
    return number
