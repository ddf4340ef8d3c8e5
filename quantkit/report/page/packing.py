"""Columns of numbers as short text for a page: integer steps, byte planes, deflate, base64.

`assets/columns.js` undoes it in a browser; `unpack` is the same rule in Python.
"""

import base64
import zlib
from fractions import Fraction
from typing import Any, Final, TypeAlias

import numpy as np

from quantkit.report.metrics import FloatArray, IntArray

#: One column: `n` rows, the `first` value, whether the rest are differences (`walk`), `width` bytes of each in planes
#: with the sign in the lowest bit, a value in steps of `times / over`, and the deflated bytes as base64.
Packed: TypeAlias = dict[str, Any]

#: Integers up to here are exact in a browser's numbers.
_EXACT: Final = 2**53
_LEVEL: Final = 6
#: How far a value may be off a step, in steps, and still be on it: what floats of decimals are off by.
_NOISE: Final = 1e-6
_FINER: Final = 12


def pack(values: FloatArray | IntArray, step: Fraction = Fraction(1), *, is_walk: bool = True) -> Packed:
    """Return one column as text.

    Args:
        values: Shape (n,), finite; each becomes the nearest multiple of `step`.
        step: Of the values, above zero.
        is_walk: Whether neighbours are close together, so that differences are smaller than values.

    Raises:
        ValueError: A value is not finite, or too many steps for a browser's numbers.

    Examples:
        >>> packed = pack(np.array([100.5, 100.6, 100.4]), Fraction(1, 10))
        >>> packed["first"], packed["width"], unpack(packed).tolist()
        (1005, 4, [100.5, 100.6, 100.4])
    """
    steps = in_steps(values, step)
    if len(steps) and int(np.abs(steps).max()) >= _EXACT:
        raise ValueError(f"a column reaches {int(np.abs(steps).max())} steps of {step}; take a larger step")
    kept = np.diff(steps, prepend=steps[:1]) if is_walk else steps
    # The sign goes into the lowest bit: else the upper bytes of a walk would be a noise of 0 and 255.
    folded = (kept << 1) ^ (kept >> 63)
    width = 8 if len(kept) and int(folded.max()) >= 2**32 else 4
    planes = folded.astype(f"<u{width}").view(np.uint8).reshape(-1, width).T.tobytes()
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return {
        "n": len(steps),
        "first": int(steps[0]) if is_walk and len(steps) else 0,
        "walk": is_walk,
        "width": width,
        "times": step.numerator,
        "over": step.denominator,
        "z": base64.b64encode(squeeze.compress(planes) + squeeze.flush()).decode(),
    }


def unpack(packed: Packed) -> FloatArray:
    """Return the values of a packed column, each the float nearest to its multiple of the step."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["z"]), -zlib.MAX_WBITS), np.uint8)
    width = packed["width"]
    folded = np.ascontiguousarray(planes.reshape(width, packed["n"]).T).view(f"<u{width}").ravel().astype(np.int64)
    kept = (folded >> 1) ^ -(folded & 1)
    steps = packed["first"] + np.cumsum(kept) if packed["walk"] else kept
    values: FloatArray = steps.astype(np.float64) * packed["times"] / packed["over"]
    return values


def in_steps(values: FloatArray | IntArray, step: Fraction) -> IntArray:
    """Return values as whole numbers of steps, the nearest ones.

    Raises:
        ValueError: A value is not finite.
    """
    if values.dtype.kind == "i" and step == 1:
        return values.astype(np.int64)
    found = np.asarray(values, np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a column holds a value that is not finite")
    return np.rint(found * (step.denominator / step.numerator)).astype(np.int64)


def step_for(values: FloatArray, step: Fraction) -> Fraction:
    """Return `step`, or a finer one in tens on which every value lies: the mean of two prices is between two steps.

    Examples:
        >>> step_for(np.array([1.5, 2.25]), Fraction(1, 10))
        Fraction(1, 100)
    """
    largest = float(np.abs(values).max()) if len(values) else 0.0
    for _ in range(_FINER):
        scaled = values * (step.denominator / step.numerator)
        if not len(values) or float(np.abs(scaled - np.rint(scaled)).max()) < _NOISE:
            return step
        # Beyond this no step would be told from the next in a float.
        if largest * 10 * step.denominator / step.numerator >= _EXACT / 8:
            return step
        step /= 10
    return step


def range_step(values: FloatArray, parts: int) -> Fraction:
    """Return a power of ten that splits the range of the values into at least so many parts.

    Examples:
        >>> range_step(np.array([9_900.0, 10_100.0]), 20_000)
        Fraction(1, 100)
    """
    extent = float(np.ptp(values)) if len(values) else 0.0
    largest = float(np.abs(values).max()) if len(values) else 0.0
    wanted = np.floor(np.log10(max(extent / parts, 1e-12)))
    least = np.ceil(np.log10(max(largest / 2**52, 1e-12)))
    return Fraction(10) ** int(max(wanted, least))
