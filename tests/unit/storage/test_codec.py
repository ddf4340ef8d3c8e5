"""Arrow arrays that damaged files give: nothing is read from outside of a dictionary."""

import numpy as np
import pyarrow as pa
import pytest

from quantkit.errors import DataError
from quantkit.storage.codec import column_of, levels_of


@pytest.mark.parametrize("codes", [[0, 2], [-1, 0], [127, 0]])
@pytest.mark.parametrize("type_", ["side", "text"])
def test_codes_outside_of_the_dictionary_are_refused(codes: list[int], type_: str) -> None:
    array = pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), pa.array(["buy", "sell"]), safe=False)
    with pytest.raises(DataError, match="points outside of its dictionary; the file is damaged"):
        column_of(array, type_)


def test_sides_are_codes_whatever_the_dictionarys_order() -> None:
    for names in (["buy", "sell"], ["sell", "buy"]):
        codes = pa.array([names.index(name) for name in ("sell", "buy", "sell")], pa.int8())
        sides = column_of(pa.DictionaryArray.from_arrays(codes, pa.array(names)), "side")
        assert sides.tolist() == [1, 0, 1]
        assert sides.dtype == np.int8


def test_levels_of_a_sliced_array_count_from_zero() -> None:
    offsets, values = levels_of(pa.array([[1.0], [2.0, 3.0], [], [4.0]]).slice(1, 2))
    assert (offsets.tolist(), values.tolist()) == ([0, 2, 2], [2.0, 3.0])


def test_stamps_and_numbers_are_not_copied() -> None:
    stamps = pa.array([1, 2, 3], pa.timestamp("ns", "UTC"))
    seen = column_of(stamps, "stamp")
    assert seen.tolist() == [1, 2, 3]
    assert seen.__array_interface__["data"][0] == stamps.buffers()[1].address
    prices = pa.array([1.0, 2.0])
    assert column_of(prices, "float").__array_interface__["data"][0] == prices.buffers()[1].address
