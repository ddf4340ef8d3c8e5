"""What records of runs are judged to mean, and how runs are held against each other."""

import io

import msgspec
from rich.console import Console

from quantkit.proving import judge
from quantkit.proving.altered import Future
from quantkit.proving.compare import first_difference
from quantkit.proving.jobs import RunRecord
from quantkit.proving.table import render
from quantkit.proving.trace import Decided
from quantkit.proving.verdict import FAIL, PASS, UNTOLD, WARN, CheckRow, StrategyCheck, Variant
from quantkit.proving.volume import VolumeShare
from quantkit.proving.witness import Reach

S = 1_000_000_000


def run(*words: str, **fields: object) -> RunRecord:
    """Return a run that decided something each second."""
    decisions = [Decided(number * S, number, "on_candle, x.py line 9", each) for number, each in enumerate(words, 1)]
    return msgspec.structs.replace(RunRecord("run", decisions=decisions, hash="a" * 64), **fields)


def test_runs_part_at_the_first_other_decision() -> None:
    """With its moment, row and line, and what each decided."""
    found = first_difference(run("buy 1", "sell 1"), run("buy 1", "sell 2", "buy 3"))
    assert found is not None
    assert (found.here, found.there) == ("sell 1", "sell 2")
    assert found.place == "1970-01-01T00:00:02Z row 2, on_candle, x.py line 9"


def test_a_decision_too_many_is_a_difference() -> None:
    """On either side."""
    for here, there, words in (
        (run("buy"), run("buy", "sell"), ("", "sell")),
        (run("buy", "sell"), run("buy"), ("sell", "")),
    ):
        found = first_difference(here, there)
        assert found is not None
        assert (found.here, found.there) == words


def test_only_what_lies_before_a_cut_is_compared() -> None:
    """The decision at the cut itself counts, and no result does."""
    here, there = run("buy", "sell"), run("buy", "hold", hash="b" * 64)
    assert first_difference(here, there, until_ns=S) is None
    assert first_difference(here, there, until_ns=2 * S) is not None
    assert first_difference(run("buy"), run("buy", hash="b" * 64)) is not None


def test_a_run_that_knows_a_moved_future_looks_ahead() -> None:
    """The evidence says what was decided with which future."""
    base = run("buy", "sell")
    row = judge.look_ahead(base, [(Future(S, "moved"), run("hold"))])
    assert (row.verdict, row.kind) == (FAIL, "look-ahead")
    assert "buy; with other prices after 1970-01-01T00:00:01Z: hold" in row.evidence
    assert judge.look_ahead(base, [(Future(S, "moved"), run("buy", "hold"))]).verdict == PASS


def test_a_cut_run_that_broke_off_accuses_nobody() -> None:
    """Altered rows may be refused before the cut is reached; a shorter run may find other data to match on."""
    base = run("buy", "sell")
    broken = run(error="a row cannot be")
    other = run(matching={"BTC": "trade"})
    cuts = [(Future(2 * S, "moved"), broken), (Future(2 * S, "shortened"), other)]
    assert judge.look_ahead(base, cuts).verdict == UNTOLD
    raised = run("raised KeyError", error="it raised", is_ours=True)
    assert judge.look_ahead(base, [(Future(2 * S, "moved"), raised)]).verdict == FAIL


def test_what_is_opened_is_judged_by_what_it_is() -> None:
    """Data, tables, network and processes are faults; of a model nobody can tell; what is allowed is nothing."""
    seen = [
        Reach("data", "data/a.parquet", "on_start"),
        Reach("table", "own/signals.csv", "on_start"),
        Reach("file", "model.json", "on_start"),
        Reach("network", "127.0.0.1", "on_start"),
        Reach("process", "ls", "on_start"),
        Reach("written", "log.txt", "on_start"),
    ]
    rows = judge.reach(seen, (), between_runs=True)
    assert [(row.kind, row.verdict) for row in rows] == [
        ("reads the data", FAIL),
        ("reads a table", FAIL),
        ("reads a file", UNTOLD),
        ("network", FAIL),
        ("starts a process", FAIL),
    ]
    rows = judge.reach(seen[1:3], ("signals.csv", "*.json"), between_runs=True)
    assert [row.verdict for row in rows] == [PASS]


def test_what_outlives_a_run_is_named() -> None:
    """Each kind in a row of its own; without a name it is hidden; without a difference it did no harm."""
    kept = [("module global", "seen"), ("class attribute", "A.count")]
    base = run("buy", kept=kept)
    rows = judge.state([(base, run("sell"))], [], differs_anyway=False)
    assert [(row.kind, row.verdict) for row in rows] == [("module global", FAIL), ("class attribute", FAIL)]
    assert "module global seen outlives a run" in rows[0].evidence
    (row,) = judge.state([(run("buy"), run("sell"))], [], differs_anyway=False)
    assert row.kind == "hidden state"
    (row,) = judge.state([(base, run("buy"))], [], differs_anyway=False)
    assert row.verdict == PASS
    assert "did no harm" in row.evidence
    (row,) = judge.state([(base, run("sell"))], [], differs_anyway=True)
    assert row.verdict == UNTOLD
    (row,) = judge.state([(base, run("buy"))], [Reach("file", "n.json", "on_start")], differs_anyway=False)
    assert (row.verdict, row.kind) == (WARN, "file between runs")


def variants(*pnls: float) -> list[Variant]:
    """Return a run as it is and with other fees."""
    return [
        Variant("as it is", "as it is", pnls[0]),
        *(Variant("fees", f"fees x{k}", pnl) for k, pnl in enumerate(pnls[1:])),
    ]


def test_a_profit_has_to_survive() -> None:
    """A loss has nothing to survive, and what could not be tried is not told."""
    verdicts = {}
    for name, pnls in {"stays": (10.0, 5.0), "goes": (10.0, -1.0), "loses": (-10.0, 5.0)}.items():
        verdicts[name] = next(row.verdict for row in judge.sensitivity(variants(*pnls), "USD") if row.check == "fees")
    assert verdicts == {"stays": PASS, "goes": WARN, "loses": UNTOLD}
    assert {row.verdict for row in judge.sensitivity(variants(10.0), "USD")} == {UNTOLD}


def test_a_large_share_of_the_volume_warns() -> None:
    """From a tenth on."""
    share = VolumeShare(of_fill=0.0999, fill_ns=0, of_hour=0.01, hour_ns=0, count=0, of=9, source="BTC trade")
    assert judge.volume(run(volume=share)).verdict == PASS
    large = msgspec.structs.replace(share, of_fill=0.1, count=3)
    row = judge.volume(run(volume=large))
    assert row.verdict == WARN
    assert "3 of 9" in row.evidence
    assert judge.volume(run()).verdict == UNTOLD


def test_few_trades_tell_nothing() -> None:
    """Many that are no more than noise warn."""
    said = {
        (count, t): judge.trades(run(trades=count, t_value=t)).verdict
        for count, t in ((29, 9.0), (30, 1.9), (30, 2.0), (30, None))
    }
    assert said == {(29, 9.0): UNTOLD, (30, 1.9): WARN, (30, 2.0): PASS, (30, None): WARN}


def test_columns_are_judged_by_their_use() -> None:
    """One that knew more fails where it is used, and warns where it is not."""
    from quantkit.proving.columns import Knowledge

    known = Knowledge("next", "BTC candle 1h", 0.9, "close", 1, 0.0, 0, 0.0, 0.0)
    base = run("buy", columns=[known], pnl=5.0, currency="USD")
    (row,) = judge.further_columns(base, {"next": run("sell", pnl=-1.0, currency="USD")})
    assert (row.verdict, row.kind) == (FAIL, "column knows more")
    assert "PnL 5.00 USD becomes -1.00 USD" in row.evidence
    (row,) = judge.further_columns(base, {"next": run("buy")})
    assert row.verdict == WARN
    plain = msgspec.structs.replace(known, copied=0.1)
    (row,) = judge.further_columns(msgspec.structs.replace(base, columns=[plain]), {"next": run("sell")})
    assert row.verdict == PASS


def test_the_worst_row_is_the_verdict() -> None:
    """And it prints as a table with its evidence."""
    rows = [CheckRow("fees", WARN, "frail"), CheckRow("determinism", FAIL, "it [differs]", "wall clock")]
    checked = StrategyCheck("x.py", {}, "", "", rows, variants(1.0, -1.0), "USD", 9)
    assert (checked.verdict, checked.kinds) == (FAIL, ["wall clock"])
    assert str(checked).splitlines()[-1] == "determinism  FAIL         it [differs]"
    text = io.StringIO()
    render(checked, Console(file=text, width=80))
    assert "wall clock: it [differs]" in text.getvalue()
    assert max(map(len, text.getvalue().splitlines())) <= 80
    assert StrategyCheck("x.py", {}, "", "", rows[:1], [], "USD", 9).verdict == WARN
