"""Numpy columns to Arrow arrays and back, without copying where the layouts agree."""

from typing import Any, Final, cast

import numpy as np
from numpy.typing import DTypeLike

from quantkit.errors import DataError
from quantkit.events import Field
from quantkit.rows.columns import DTYPES, Block, Column, offsets_of
from quantkit.storage.schema import TABLES, arrow_schema, arrow_type

_SIDE_NAMES: Final = ("buy", "sell")
#: Longer texts are no cause and no channel; the bound keeps a forged file from filling the memory.
TEXT_MAX: Final = 10_000


def normalised(block: Block) -> Block:
    """Return the block with every stored column at hand, of the right dtype and length.

    Raises:
        DataError: A column is missing, has another length than the block, or holds what its type cannot.
    """
    columns: dict[str, Column] = {}
    for field in TABLES[block.stream.kind]:
        if field.name == "seq" and not _has_seq(block):
            continue
        if field.type == "levels":
            start = offsets_of(field)
            if start not in columns:
                columns[start] = _column(block, start, np.int64, block.size + 1)
                _check_offsets(columns[start], block)
            columns[field.name] = _column(block, field.name, np.float64, int(columns[start][-1]))
        else:
            columns[field.name] = _column(block, field.name, DTYPES[field.type], block.size)
    return Block(block.stream, block.size, columns)


def _has_seq(block: Block) -> bool:
    try:
        block.column("seq")
    except KeyError:
        return False
    return True


def _column(block: Block, name: str, dtype: DTypeLike, size: int) -> Column:
    try:
        given = block.column(name)
    except KeyError:
        raise DataError(f"{block.stream}: the block has no column {name}") from None
    try:
        values = np.asarray(given).astype(dtype, casting="same_kind" if dtype is not object else "unsafe", copy=False)
    except TypeError:
        raise DataError(f"{block.stream}: column {name} is {np.asarray(given).dtype}, not {np.dtype(dtype)}") from None
    if values.shape != (size,):
        raise DataError(f"{block.stream}: column {name} has shape {values.shape}, not ({size},); lengths must agree")
    return values


def _check_offsets(starts: Column, block: Block) -> None:
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any():
        raise DataError(f"{block.stream}: offsets of book levels must start at 0 and never fall")


def table_of(block: Block) -> Any:
    """Return a normalised block as the `pyarrow.Table` that is written."""
    import pyarrow as pa

    schema = arrow_schema(block.stream)
    arrays = [_to_arrow(block, field) for field in TABLES[block.stream.kind]]
    return pa.Table.from_arrays(arrays, schema=schema)


def _to_arrow(block: Block, field: Field) -> Any:
    import pyarrow as pa

    values: Any = block.column(field.name)
    match field.type:
        case "stamp":
            return pa.array(values).view(arrow_type("stamp"))
        case "optional":
            return pa.array(values, mask=np.isnan(values))
        case "side":
            return pa.DictionaryArray.from_arrays(values, pa.array(_SIDE_NAMES))
        case "text":
            try:
                texts = pa.array(values.tolist(), pa.string())
            except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError) as error:
                raise DataError(f"{block.stream}: column {field.name} is not text throughout: {error}") from error
            if texts.null_count or max((len(text) for text in set(values.tolist())), default=0) > TEXT_MAX:
                raise DataError(f"{block.stream}: column {field.name} must be text of at most {TEXT_MAX} characters")
            return texts.dictionary_encode()
        case "levels":
            starts: Any = block.column(offsets_of(field)).astype(np.int32)
            flat: Any = pa.array(values)
            return pa.ListArray.from_arrays(pa.array(starts), flat, type=arrow_type("levels"))
        case _:
            return pa.array(values)


def column_of(array: Any, type_: str) -> Column:
    """Return an Arrow array of one of the scalar types as numpy.

    Stamps come as int64 nanoseconds, sides as int8 (0 buy, 1 sell), absent floats as NaN, texts as objects.

    Raises:
        DataError: The array has nulls, a NaN beside nulls, or a side or text it may not have. The message wants the
            file's and the column's name in front.
    """
    import pyarrow as pa

    if type_ == "optional":
        values = array.to_numpy(zero_copy_only=False)
        if int(np.isnan(values).sum()) != array.null_count:
            raise DataError("holds NaN, which is no number; absent values are nulls")
        return cast(Column, values)
    if array.null_count:
        raise DataError(f"holds {array.null_count} nulls")
    if type_ == "stamp":
        return cast(Column, array.view(pa.int64()).to_numpy())
    if type_ == "side":
        return _sides(array)
    if type_ == "text":
        _check_texts(array.dictionary)
        return np.array(array.dictionary.to_pylist(), object)[_codes(array)]
    return cast(Column, array.to_numpy(zero_copy_only=type_ != "flag"))


def _sides(array: Any) -> Column:
    names = array.dictionary.to_pylist()
    codes = _codes(array)
    if names == ["buy", "sell"] or names == ["buy"]:
        return codes.astype(np.int8, copy=False)
    unknown = [name for name in names if name not in _SIDE_NAMES]
    if unknown:
        raise DataError(f"holds the side {str(unknown[0])[:20]!r}; sides are buy and sell")
    return np.array([_SIDE_NAMES.index(name) for name in names], np.int8)[codes]


def _codes(array: Any) -> Column:
    codes = cast(Column, array.indices.to_numpy())
    # pyarrow takes the dictionary's length from a page header that no checksum covers.
    if codes.size and not 0 <= codes.min() <= codes.max() < len(array.dictionary):
        raise DataError("points outside of its dictionary; the file is damaged, restore or import it again")
    return codes


def _check_texts(dictionary: Any) -> None:
    import pyarrow.compute as pc

    longest = pc.max(pc.utf8_length(dictionary)).as_py()
    if longest is not None and longest > TEXT_MAX:
        raise DataError(f"holds a text of {longest} characters; at most {TEXT_MAX} are read")


def levels_of(array: Any) -> tuple[Column, Column]:
    """Return an Arrow list array as (offsets of shape (n + 1,), flat values).

    Raises:
        DataError: A row or a level is null.
    """
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values[offsets[0] : offsets[-1]]
    if array.null_count or values.null_count:
        raise DataError("holds nulls; an empty side is an empty list")
    return offsets - offsets[0], cast(Column, values.to_numpy())
