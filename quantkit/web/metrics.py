"""A live run's numbers in Prometheus' text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text-based format, version 0.0.4.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.live.status import LiveStatus, PositionLine
from quantkit.orders import PositionSide

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
MetricKind: TypeAlias = "Literal['counter', 'gauge']"
#: Labels and value.
Sample: TypeAlias = "tuple[Mapping[str, str], float]"


def text(status: LiveStatus | None, *, age_ns: int | None, sockets: int) -> str:
    """Return the metrics of a live run.

    Args:
        status: The newest; None without one.
        age_ns: How old it is; None while none comes.
        sockets: Pages that follow the run.
    """
    is_up = status is not None and age_ns is not None
    parts = [
        _family("quantkit_live_up", "gauge", "1 while statuses of the run come", [({}, float(is_up))]),
        _family("quantkit_serve_sockets", "gauge", "pages that follow the run", [({}, sockets)]),
    ]
    if status is not None:
        parts += _of_run(status)
    if age_ns is not None:
        parts.append(
            _family("quantkit_live_status_age_seconds", "gauge", "age of the newest status", [({}, age_ns / NS_PER_S)])
        )
    return "".join(parts)


def _leg_label(line: PositionLine) -> dict[str, str]:
    """Return the label of a leg; a net position has none, so that series of before go on."""
    return {} if line.position_side is PositionSide.NET else {"position_side": line.position_side}


def _of_run(status: LiveStatus) -> list[str]:
    money = {"currency": status.currency}
    streams = [({"stream": stream.name}, stream) for stream in status.streams]
    connections = [({"connection": each.name}, each) for each in status.connections]
    positions = [({"instrument": each.instrument, **_leg_label(each)}, each) for each in status.positions]
    return [
        _family("quantkit_live_info", "gauge", "the run", [({"strategy": status.strategy}, 1)]),
        _family(
            "quantkit_live_rows_total", "counter", "rows received", [(labels, each.rows) for labels, each in streams]
        ),
        _family(
            "quantkit_live_rows_per_second",
            "gauge",
            "rows received a second, lately",
            [(labels, each.rows_per_s) for labels, each in streams],
        ),
        _family(
            "quantkit_live_lag_seconds",
            "gauge",
            "how late the last row came, by the exchange's clock",
            [(labels, each.lag_ms * NS_PER_MS / NS_PER_S) for labels, each in streams if each.lag_ms is not None],
        ),
        _family(
            "quantkit_live_connection_up",
            "gauge",
            "1 for a connection that is live",
            [(labels, float(each.state == "live")) for labels, each in connections],
        ),
        _family("quantkit_live_gaps_total", "counter", "gaps in the data", [({}, status.gaps)]),
        _family("quantkit_live_orders_total", "counter", "orders sent", [({}, status.orders)]),
        _family("quantkit_live_fills_total", "counter", "fills", [({}, status.fills_count)]),
        _family("quantkit_live_open_orders", "gauge", "orders that may still fill", [({}, len(status.open_orders))]),
        _family("quantkit_live_queue_rows", "gauge", "rows received and not yet taken", [({}, status.queue)]),
        _family(
            "quantkit_live_engine_behind_seconds_max",
            "gauge",
            "how far the engine was behind the clock at most",
            [({}, status.behind_ns_max / NS_PER_S)],
        ),
        _family(
            "quantkit_live_position", "gauge", "signed holding", [(labels, each.qty) for labels, each in positions]
        ),
        _family("quantkit_live_equity", "gauge", "equity", [] if status.equity is None else [(money, status.equity)]),
        _family(
            "quantkit_live_drawdown",
            "gauge",
            "equity below its highest so far, as a negative fraction",
            [] if status.drawdown is None else [({}, status.drawdown)],
        ),
        _family(
            "quantkit_live_fees",
            "gauge",
            "fees paid so far",
            [({"currency": currency}, amount) for currency, amount in status.fees.items()],
        ),
        _family("quantkit_live_paused", "gauge", "1 while orders are refused", [({}, float(status.is_paused))]),
        _family(
            "quantkit_live_latency_seconds",
            "gauge",
            "from the receipt of a batch to the engine, lately",
            [
                ({"quantile": quantile}, latency_ms * NS_PER_MS / NS_PER_S)
                for quantile, latency_ms in (("0.5", status.latency_p50_ms), ("0.99", status.latency_p99_ms))
                if latency_ms is not None
            ],
        ),
        _family("quantkit_live_recorded_bytes", "gauge", "length of the recording", [({}, status.recorded_bytes)]),
        _family(
            "quantkit_live_pnl", "gauge", "profit since start", [] if status.pnl is None else [(money, status.pnl)]
        ),
    ]


def _family(name: str, kind: MetricKind, meaning: str, samples: Sequence[Sample]) -> str:
    """Return a metric with its samples; nothing for one without any."""
    if not samples:
        return ""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"]
    lines += [f"{name}{_labels(labels)} {_number(value)}" for labels, value in samples]
    return "\n".join(lines) + "\n"


def _labels(labels: Mapping[str, str]) -> str:
    """Return labels in braces.

    Examples:
        >>> _labels({"stream": 'a "b"'}), _labels({})
        ('{stream="a \\\\"b\\\\""}', '')
    """
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' if value < 0 else '+'}Inf"
    return str(int(value)) if value == int(value) else repr(value)
