"""Values of a JSON row, read and printed."""

import math
from typing import Any


def number(value: Any) -> float:
    """A JSON value as a number; `"nan"`, `"inf"` and null are what they stand for."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def compact(value: Any) -> str:
    """Four significant digits, and no exponent where a person would write none."""
    value = number(value)
    if math.isfinite(value) and 1000 <= abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def count(value: Any) -> str:
    """A whole number with separators; what is none, as it is."""
    return f"{value:,}" if isinstance(value, int) else str(value)
