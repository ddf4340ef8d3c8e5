"""Steps inferred from numbers, the order in which metadata are believed, and the spool between reading and writing."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.events import Gap, Trade
from quantkit.importers.metadata import InstrumentOptions, StepFinder, Steps, kind_of, resolve
from quantkit.importers.report import ImportReport, SkippedRow, Tally
from quantkit.importers.spool import ImportSpool, SpoolKey
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import KIND_COLUMNS, Block, Stream

STEPS = ("0.1", "0.01", "0.05", "0.5", "0.001", "0.00000001", "0.02", "1")
NUMBERS = st.one_of(
    st.builds(lambda step, count: float(Decimal(step) * count), st.sampled_from(STEPS), st.integers(-5, 10**6)),
    st.sampled_from([float("nan"), 0.0]),
)


@settings(max_examples=200, deadline=None)
@given(step=st.sampled_from(STEPS), counts=st.lists(st.integers(1, 10**7), min_size=1, max_size=60))
def test_every_number_lies_on_the_inferred_step_and_it_is_no_finer_than_needed(step: str, counts: list[int]) -> None:
    """The step divides all numbers, is a multiple of the true one, and the next coarser one does not divide them."""
    numbers = [Decimal(step) * count for count in counts]
    finder = StepFinder()
    for part in (numbers[::2], numbers[1::2]):
        finder.add(np.array([float(number) for number in part]))
    found = finder.step()
    assert all(number % found == 0 for number in numbers)
    assert found % Decimal(step) == 0
    assert finder.divides(found)
    assert finder.divides(Decimal(step))
    if found < 1:
        coarser = found * 2 if found.as_tuple().digits != (2,) else found * Decimal("2.5")
        assert not all(number % coarser == 0 and number % (coarser * 5) == 0 for number in numbers) or found >= 1


def test_neighbours_show_the_step_whatever_the_order() -> None:
    for step in STEPS:
        finder = StepFinder()
        finder.add(np.array([float(Decimal(step) * count) for count in range(1, 4000)]))
        assert finder.step() == Decimal(step)
    finder = StepFinder()
    assert (finder.step(), finder.is_empty) == (Decimal(1), True)
    finder.add(np.array([0.0, np.nan]))
    assert finder.is_empty
    finder.add(np.array([1e300]))
    assert finder.step() == 1


def test_float_noise_does_not_make_a_step_of_its_own() -> None:
    """Numbers that no text of 12 decimals gives end at the finest step looked for."""
    finder = StepFinder()
    finder.add(np.array([0.1 + 0.2]))
    assert finder.step() >= Decimal("1e-12")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BTC-USDT", "spot"),
        ("BTC-USDT-SWAP", "swap"),
        ("BTC-USD-220527", "future"),
        ("GOOG", "spot"),
        ("x:A-B-SWAP", "swap"),
    ],
)
def test_kind_of(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_the_order_in_which_metadata_are_believed() -> None:
    def made(source: str, step: str) -> Instrument:
        return Instrument("A-B-SWAP", kind="swap", price_step=step, qty_step="1", source=source)

    steps = Steps()
    steps.price.add(np.array([0.5, 0.1]))
    whole, listed, stored = made("given", "0.001"), made("capture", "0.01"), made("given", "0.02")
    nothing = InstrumentOptions()

    def best(options: InstrumentOptions, **known: Instrument) -> tuple[str, str]:
        instrument, source = resolve(
            "A-B-SWAP",
            steps,
            options,
            listed={"A-B-SWAP": known["listed"]} if "listed" in known else {},
            stored={"A-B-SWAP": known["stored"]} if "stored" in known else {},
            hints={"contract_value": "10"},
        )
        return str(instrument.price_step), source

    assert best(InstrumentOptions(instrument=whole), listed=listed, stored=stored) == ("0.001", "given")
    assert best(nothing, listed=listed, stored=stored) == ("0.01", "capture")
    assert best(nothing, stored=stored) == ("0.02", "stored")
    assert best(nothing) == ("0.1", "inferred")
    assert best(InstrumentOptions(price_step="0.3", qty_step="1"), stored=stored) == ("0.3", "given")
    assert best(InstrumentOptions(price_step="0.3")) == ("0.3", "inferred")
    assert best(InstrumentOptions(contract_value="5"), stored=stored) == ("0.02", "given")


def test_the_spool_gives_back_what_it_took() -> None:
    trades = [Trade("A-B", i, i + 1, 1.5 * i + 1, 2.0, Side.SELL if i % 2 else Side.BUY, i) for i in range(7)]
    gaps = [
        Gap("A-B", 1, 2, "book", 0, 1, "sequence"),
        Gap("A-B", 3, 4, "trade", 0, 1, "Ünïcode, longer than the first"),
    ]
    with ImportSpool() as spool:
        for part in (trades[:3], trades[3:]):
            spool.put(SpoolKey(Stream("trade", "A-B")), Block.from_events(part))
        spool.put(SpoolKey(Stream("gap", "A-B"), "books"), Block.from_events(gaps))
        assert spool.keys == [SpoolKey(Stream("trade", "A-B")), SpoolKey(Stream("gap", "A-B"), "books")]
        assert spool.rows(spool.keys[0]) == 7
        assert [event for block in spool.blocks(spool.keys[0]) for event in block.events()] == trades
        assert [event for block in spool.blocks(spool.keys[1]) for event in block.events()] == gaps
        assert list(spool.blocks(SpoolKey(Stream("trade", "C-D")))) == []


@pytest.mark.parametrize("seq", [[5, 6, 7], [5, 6, 8], [7, 6, 5], [6, 5, 7]])
@pytest.mark.parametrize("late_ns", [0, 3])
def test_the_spool_leaves_out_only_what_it_can_make_again(seq: list[int], late_ns: int) -> None:
    trades = Block.from_events([Trade("A-B", i, i + late_ns, 1.5, 2.0, Side.BUY, i) for i in range(3)])
    names = ("exchange_ns", "received_ns", *KIND_COLUMNS["trade"])
    columns = {name: trades.column(name) for name in names} | {"seq": np.array(seq, np.int64)}
    key = SpoolKey(Stream("trade", "A-B"))
    with ImportSpool() as spool:
        spool.put(key, Block(key.stream, 3, columns))
        (block,) = spool.blocks(key)
        assert {name: block.column(name).tolist() for name in columns} == {n: c.tolist() for n, c in columns.items()}


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(NUMBERS, max_size=4), min_size=1, max_size=5))
def test_steps_do_not_depend_on_the_blocks_they_are_seen_in(blocks: list[list[float]]) -> None:
    parted, whole = StepFinder(), StepFinder()
    for block in blocks:
        parted.add(np.array(block, np.float64))
    whole.add(np.array([number for block in blocks for number in block], np.float64))
    assert (parted.step(), parted.least, parted.is_empty) == (whole.step(), whole.least, whole.is_empty)
    assert [parted.divides(Decimal(step)) for step in STEPS] == [whole.divides(Decimal(step)) for step in STEPS]


def test_a_skipped_row_reads_like_a_compilers_message() -> None:
    assert str(SkippedRow("a.csv", 7, "1,2", "time is missing")) == "a.csv:7: time is missing: 1,2"
    tally = Tally()
    tally.skip("a.csv", 7, "x" * 5000, "too long")
    assert len(tally.skipped_rows[0].text) == 200
    tally.ignore("nothing", 0)
    assert tally.ignored == {}
    assert "duration" not in ImportReport.__struct_fields__
