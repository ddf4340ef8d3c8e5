"""The plan of a download: which streams, which spans of them are not stored, and in which pieces they are asked for."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from quantkit.clock import NS_PER_DAY
from quantkit.collect.kinds import WORDS, DownloadKind, kinds_of
from quantkit.collect.past import HistoryPart
from quantkit.collect.report import StreamReport
from quantkit.collect.spans import TimeSpan, by_month, cut, joined, without
from quantkit.errors import ConfigError
from quantkit.feeds.okx.config import OkxConfig
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog

#: What the names of all sources begin with.
_EXCHANGE = "okx"
#: A shorter span of what comes by the month costs fewer requests than two months' files.
_LEAST_OF_MONTH_NS = 5 * NS_PER_DAY


class Wish(NamedTuple):
    """What is wanted.

    Attributes:
        instruments: Ids; none for all that was downloaded into the folder before.
        kinds: What of each.
        from_ns, to_ns: The span of history, its end not part of it; None: from where the stored rows end, until now.
        is_update: Whether each stream goes on from the end of what is stored.
        replaces: Whether stored rows of the span are asked for again and give way.
        uses_files: Whether rows may come from the exchange's files of days and months.
    """

    instruments: Sequence[str]
    kinds: Sequence[DownloadKind]
    from_ns: int | None
    to_ns: int | None
    is_update: bool
    replaces: bool
    uses_files: bool = True


class KindOf(NamedTuple):
    """One kind of one instrument."""

    kind: DownloadKind
    instrument: str

    @property
    def stream(self) -> Stream:
        """The stream of its rows."""
        return self.kind.stream(self.instrument)

    def __str__(self) -> str:
        return f"{self.stream.instrument} {self.kind.text}"


class StreamTask(NamedTuple):
    """The pieces of one stream, in order of time, and what is told of it."""

    stream: Stream
    pieces: list[HistoryPart]
    report: StreamReport


def source_of(config: OkxConfig) -> str:
    """Return the name under which a server's rows are kept.

    Examples:
        >>> source_of(OkxConfig()), source_of(OkxConfig(url="http://127.0.0.1:8765"))
        ('okx', 'okx at 127.0.0.1:8765')
    """
    if config.url is not None:
        return f"{_EXCHANGE} at {config.rest_url.partition('://')[2]}"
    return f"{_EXCHANGE} demo" if config.demo else _EXCHANGE


def pairs_of(wish: Wish, catalog: Catalog | None) -> list[KindOf]:
    """Return each kind with each instrument that has it, each stream once.

    Raises:
        ConfigError: None of the instruments has a kind, two kinds are of one stream, or nothing was downloaded before.
    """
    if not wish.instruments:
        return _downloaded(catalog)
    found: dict[Stream, KindOf] = {}
    for kind in wish.kinds:
        if kind.is_filed_only and not wish.uses_files:
            raise ConfigError(f"{kind.text}: the exchange has their past in files alone; leave out --no-files")
        having = [name for name in wish.instruments if kind.fits(name)]
        if not having:
            named = ", ".join(wish.instruments[:3]) + (" ..." if len(wish.instruments) > 3 else "")
            raise ConfigError(f"{kind.text}: only {' or '.join(WORDS[kind.word].of)} instruments have it, not {named}")
        for name in having:
            pair = KindOf(kind, name)
            other = found.setdefault(pair.stream, pair)
            if other.kind != kind:
                raise ConfigError(f"{other} and {pair} are rows of one stream; choose one of them")
    return list(found.values())


def unfit(wish: Wish) -> list[str]:
    """Return a sentence for each kind that an instrument does not have."""
    pairs = [(kind, name) for kind in wish.kinds for name in wish.instruments]
    return [f"{name} has no {kind.text}" for kind, name in pairs if not kind.fits(name)]


def _downloaded(catalog: Catalog | None) -> list[KindOf]:
    """Return each kind with each instrument that was downloaded into a folder before.

    Raises:
        ConfigError: There is none.
    """
    asked = [] if catalog is None else [each for each in catalog.asked if each.source.startswith(_EXCHANGE)]
    if not asked:
        raise ConfigError("nothing was downloaded into this folder yet; name instruments, --kinds and --from")
    # The last word of a source is the kind as it was asked for.
    texts = sorted({(each.source.rpartition(" ")[2], each.instrument) for each in asked})
    return [KindOf(kinds_of(text)[0], name) for text, name in texts]


def first_ns(wish: Wish, pair: KindOf, catalog: Catalog | None) -> int:
    """Return from when on the history of a stream is wanted; 0 of what has none.

    Raises:
        ConfigError: Nobody says from when.
    """
    if not pair.kind.is_past:
        return 0
    held = [] if catalog is None or not wish.is_update else held_spans(catalog, pair)
    from_ns = max(end for _, end in held) if held else wish.from_ns
    if from_ns is None:
        told = "is not stored yet" if wish.is_update else "has a history"
        raise ConfigError(f"{pair} {told}; say from when, for example --from 2026-01-01")
    return from_ns


def tasks_of(wish: Wish, pairs: Iterable[KindOf], catalog: Catalog | None, settled_ns: int) -> list[StreamTask]:
    """Return what is to be asked for of each stream with a history.

    Args:
        wish: What is wanted.
        pairs: Of which streams.
        catalog: What is stored; None for nothing.
        settled_ns: Later history may still be missing at the exchange.

    Raises:
        ConfigError: Nobody says from when.
    """
    return [_task(wish, pair, catalog, settled_ns) for pair in pairs if pair.kind.is_past]


def _task(wish: Wish, pair: KindOf, catalog: Catalog | None, settled_ns: int) -> StreamTask:
    kind, stream = pair.kind, pair.stream
    from_ns = first_ns(wish, pair, catalog)
    to_ns = settled_ns if wish.to_ns is None else min(wish.to_ns, settled_ns)
    late_from_ns = 0
    if kind.word == "candles":
        # The last bar has to have closed.
        to_ns = min(to_ns, settled_ns - kind.length_ns + 1)
    if kind.is_filed_only and kind.archive is not None:
        # A book begins with the snapshot at the begin of its file, so it comes by whole days.
        from_ns, to_ns = from_ns // NS_PER_DAY * NS_PER_DAY, -(-to_ns // NS_PER_DAY) * NS_PER_DAY
        out_ns = (settled_ns - kind.archive.published_ns) // NS_PER_DAY * NS_PER_DAY
        if out_ns < to_ns:
            late_from_ns = to_ns = max(from_ns, out_ns)
    span = (from_ns, max(from_ns, to_ns))
    report = StreamReport(stream.instrument, kind.text, *span, holes=[], late_from_ns=late_from_ns)
    left = [span]
    if catalog is not None and not wish.replaces:
        left = without(span, held_spans(catalog, pair))
        report.held_rows = _rows_in(catalog, stream, span)
    pieces = [piece for each in left for piece in _pieces(wish, pair, each, settled_ns)]
    return StreamTask(stream, pieces, report)


def _pieces(wish: Wish, pair: KindOf, span: TimeSpan, settled_ns: int) -> Iterator[HistoryPart]:
    """Yield the parts of a span that are asked for and stored at once: whole days or months where files are out."""
    kind, name = pair.kind, pair.stream.instrument
    archive = kind.archive if wish.uses_files else None
    if archive is None:
        yield from (HistoryPart(kind, name, part) for part in parts_of(kind, span))
        return
    for part in by_month(span) if archive.is_monthly else cut(span, NS_PER_DAY):
        is_worth = kind.word != "candles" or part[1] - part[0] >= _LEAST_OF_MONTH_NS
        if is_worth and archive.is_out(*part, settled_ns):
            yield HistoryPart(kind, name, part, may_be_filed=True)
        elif not kind.is_filed_only:
            yield from (HistoryPart(kind, name, each) for each in parts_of(kind, part))


def held_spans(catalog: Catalog, pair: KindOf) -> list[TimeSpan]:
    """Return where a stream's rows are stored, were recorded live, or were asked for; of candles by `open_ns`."""
    stream = pair.stream
    is_candle = stream.kind == "candle"
    length_ns = pair.kind.length_ns if is_candle else 0
    files = [entry.span(opens=is_candle) for entry in catalog.entries if entry.stream == stream]
    spans = [(first, last + max(1, length_ns)) for first, last in files]
    # A candle is received when it has closed, so the last one recorded opened an interval before.
    spans += [(each.from_ns, each.to_ns + 1 - length_ns) for each in catalog.watched if each.stream == stream]
    spans += [(each.from_ns, each.to_ns + 1) for each in catalog.asked if each.stream == stream]
    return joined(span for span in spans if span[0] < span[1])


def _rows_in(catalog: Catalog, stream: Stream, span: TimeSpan) -> int:
    """Return how many rows the files hold that reach into a span."""
    entries = [entry for entry in catalog.entries if entry.stream == stream]
    spans = [(entry.rows, *entry.span(opens=True)) for entry in entries]
    return sum(rows for rows, first, last in spans if first < span[1] and last >= span[0])


def parts_of(kind: DownloadKind, span: TimeSpan) -> Iterator[TimeSpan]:
    """Yield the parts of a span that are asked for and stored at once."""
    return cut(span, kind.piece_ns) if kind.piece_ns else by_month(span)
