"""Faults to plant by hand: each is one text of one file replaced by another, and some test has to notice it."""

from typing import NamedTuple


class Mutant(NamedTuple):
    """A planted fault.

    Attributes:
        name: What it does wrong.
        file: Below `quantkit/`.
        old, new: A text that stands in the file exactly once, and what it becomes.
    """

    name: str
    file: str
    old: str
    new: str


LOOP, HOOKS, EQUITY, CURVE = "engine/loop.py", "engine/hooks.py", "engine/equity.py", "engine/curve.py"
TRIPS, SOLVENCY, WORTH, BOOKINGS = "engine/excursions.py", "engine/solvency.py", "engine/worth.py", "engine/bookings.py"
MOMENTS, STATES, VALUATION = "engine/moments.py", "engine/states.py", "engine/valuation.py"
MARKS = "rows/marks.py"
ORDERS, FUNDING, CONTEXT = "engine/order_manager.py", "engine/funding.py", "engine/context.py"
DELIVERY, ENGINE = "engine/delivery.py", "engine/engine.py"
_SIMULATED = "brokers/simulated/"
STREAMS, HISTORY, TRADED = f"{_SIMULATED}streams.py", f"{_SIMULATED}fill_history.py", f"{_SIMULATED}traded.py"
EXCHANGE_ORDER = f"{_SIMULATED}exchange_order.py"
DISPLAYED, ACCOUNT, BOUND = f"{_SIMULATED}displayed.py", f"{_SIMULATED}account.py", f"{_SIMULATED}leverage_bound.py"
FUNDS, SENDER, EXECUTIONS = f"{_SIMULATED}funds.py", f"{_SIMULATED}message_sender.py", f"{_SIMULATED}executions.py"
BROKER, HOLDING = f"{_SIMULATED}broker.py", f"{_SIMULATED}holding.py"
PORTFOLIO, MONEY = "portfolio.py", "money.py"
MARKS, ORDERBOOK, CURSORS = "rows/marks.py", "orderbook.py", "rows/cursors.py"
TRIGGERS, ARRIVALS, MARKET = f"{_SIMULATED}triggers.py", f"{_SIMULATED}arrivals.py", f"{_SIMULATED}market.py"
MARK_STREAM = f"{_SIMULATED}mark_stream.py"
BOOK_STREAM, QUEUE_SCAN = f"{_SIMULATED}book_stream.py", f"{_SIMULATED}queue_scan.py"
QUEUES = "queue_models.py"
DISPLAY_WALK, SPENDING = f"{_SIMULATED}display_walk.py", f"{_SIMULATED}spending.py"
GROUPS, BRACKETS, REDUCE_ONLY = f"{_SIMULATED}oco_groups.py", f"{_SIMULATED}brackets.py", f"{_SIMULATED}reduce_only.py"
LIQUIDATIONS, MARGIN_BOUND = f"{_SIMULATED}liquidations.py", f"{_SIMULATED}margin_bound.py"
TARGETS, QUOTES, MARGIN = "engine/targets.py", "engine/quotes.py", "margin.py"
ORDER_MESSAGE, SIZES = f"{_SIMULATED}order_message.py", "sizes.py"
_ASYNCHRONOUS = "brokers/asynchronous/"
REDUCER, QUEUE, NEWS = f"{_ASYNCHRONOUS}reducer.py", f"{_ASYNCHRONOUS}input_queue.py", f"{_ASYNCHRONOUS}broker.py"

CONTROL, ENDPOINT = "live/control.py", "live/control_server.py"
COMMANDS, GIVEN, REPLAYER = "engine/commands.py", "live/commands.py", "live/replayer.py"

MUTANTS = [
    # The loop and its hooks.
    Mutant(
        "funding that ruins is handed to the hook all the same",
        HOOKS,
        "                return  # the run ends with this row\n",
        "                pass\n",
    ),
    Mutant(
        "funding leaves later rows of the stretch to their hooks",
        HOOKS,
        "                self._dirty.add(funding.instrument)\n",
        "                pass\n",
    ),
    Mutant(
        "a mark that ruins is looked at before the exchange has had its row",
        LOOP,
        "solvency.next_doubt(min(stop, size))\n                if doubt < stop:",
        "solvency.next_doubt(min(stop + 1, size))\n                if doubt <= stop:",
    ),
    Mutant(
        "a mark that ruins is not looked at after its row was matched",
        LOOP,
        "        if not self._solvency.is_safe and self._solvency.next_doubt(index + 1) == index:\n"
        "            self._check_mark(index)\n",
        "",
    ),
    Mutant(
        "candles' fills stand after the grid of their close",
        LOOP,
        "position.is_after_candles = cursor.kind not in _BEFORE_CANDLES",
        "position.is_after_candles = True",
    ),
    Mutant(
        "a wake-up counts as after the candles of its moment",
        LOOP,
        "        position.is_after_candles = False\n",
        "        position.is_after_candles = True\n",
    ),
    Mutant(
        "new steps leave it open whether candles have been",
        HOOKS,
        "        self._position.is_after_candles = True  # what had arrived by now may fill here\n",
        "",
    ),
    Mutant(
        "a wake-up behind the next few rows comes too early",
        LOOP,
        "                if wake == near:\n                    wake = bisect_left(stamps, wake_ns, near, end)\n",
        "",
    ),
    Mutant(
        "timers run before what the clock brings",
        LOOP,
        "        if agenda.report_ns <= now_ns:\n            self._delivery.deliver(now_ns)\n        while self._",
        "        while self._",
    ),
    Mutant(
        "fills are told before the portfolio has them",
        ORDERS,
        "            self._reported.apply(fill)\n",
        "            self.late, late = fill, getattr(self, 'late', None)\n"
        "            if late is not None:\n                self._reported.apply(late)\n",
    ),
    Mutant(
        "a run that a hook ends stops valuing at its last fill",
        ENGINE,
        "        self._parts.equity.run_to(self._position.index, self._position.now_ns)\n",
        "",
    ),
    # The curve: the traps of valuing after the fact.
    Mutant(
        "the curve does not begin before the fill that follows its first prices",
        EXECUTIONS,
        "        self._observer.before_fill()\n",
        "",
    ),
    Mutant(
        "rows of a flat stretch are moments",
        MOMENTS,
        "            indices, values = indices[counts], values[counts]\n",
        "            pass\n",
    ),
    Mutant(
        "a fill has seen the row at its index",
        MOMENTS,
        "self.rows.searchsorted(begins) + np.arange(1, fills + 1)",
        'self.rows.searchsorted(begins, "right") + np.arange(1, fills + 1)',
    ),
    Mutant(
        "the row at a fill's index counts with the account before it",
        MOMENTS,
        'since = begins.searchsorted(self.rows, "right")',
        "since = begins.searchsorted(self.rows)",
    ),
    Mutant(
        "the mid of a book from before it counted is known",
        MOMENTS,
        "is_known = (at >= 0) & (indices[row] >= self._columns.begins[states])",
        "is_known = at >= 0",
    ),
    Mutant(
        "the grid counts a mark of its own stamp to the next step",
        VALUATION,
        'np.minimum(received_ns.searchsorted(grid_ns, "right"), ahead)',
        "np.minimum(received_ns.searchsorted(grid_ns), ahead)",
    ),
    Mutant(
        "the grid's row of a fill's moment misses marks that are yet to come",
        VALUATION,
        'received_ns.searchsorted(fill_ns[grid_fills], "right")',
        "columns.begins[1:][grid_fills]",
    ),
    Mutant(
        "the grid's row of the moment of a fill valued at once misses marks that are yet to come",
        EQUITY,
        "                marks[name] = last if ahead is None else ahead\n",
        "                marks[name] = last\n",
    ),
    Mutant(
        "the grid's row of a fill's moment comes after the fill",
        VALUATION,
        "        after = np.flatnonzero(columns.are_after)\n",
        "        after = np.flatnonzero(~columns.are_after)\n",
    ),
    Mutant(
        "rows of the grid show the cash of the end",
        VALUATION,
        "time_ns, view.cash, share, order",
        "time_ns, np.atleast_1d(columns.view.cash)[-1], share, order",
    ),
    Mutant(
        "a run that ends in its middle does not value its fills",
        EQUITY,
        "            self.run_to(*self._states.last)\n",
        "            pass\n",
    ),
    Mutant(
        "the grid loses its midnights",
        CURVE,
        "(every_ns,) if NS_PER_DAY % every_ns == 0 else (every_ns, NS_PER_DAY)",
        "(every_ns,)",
    ),
    Mutant(
        "the trough of before a row stays for the next",
        CURVE,
        "        self._trough = 0.0\n        self._columns[3]",
        "        self._columns[3]",
    ),
    Mutant(
        "a step without a mark forgets how deep it stood",
        CURVE,
        "falls, some = depth[ends], ",
        "falls, some = np.zeros(len(ends)), ",
    ),
    Mutant(
        "the peak forgets what it was before the stretch",
        CURVE,
        "np.maximum(np.maximum.accumulate(equity[1:]), self.peak, out=peaks[1:])",
        "np.maximum.accumulate(equity[1:], out=peaks[1:])",
    ),
    Mutant(
        "funding that was received lifts the peak",
        CURVE,
        "        peaks[0] = self.peak  # what",
        "        self.peak = peaks[0] = max(self.peak, float(equity[0]))  # what",
    ),
    Mutant(
        "exposure leaves the sign of a short",
        WORTH,
        "            size = abs(held.size)\n            worth",
        "            size = held.size\n            worth",
    ),
    Mutant(
        "a currency is converted the wrong way round",
        WORTH,
        "total = total + (worth / rate if balance.is_inverted else worth * rate)",
        "total = total + (worth * rate if balance.is_inverted else worth / rate)",
    ),
    Mutant(
        "a fee in another currency is left out of the state after its fill",
        STATES,
        "                if balance.currency == fill.fee_currency:\n",
        "                if balance.currency == fill.instrument:\n",
    ),
    Mutant(
        "an excursion ends one fill too late",
        TRIPS,
        "        if new or sense.is_over:\n",
        "        if new:\n",
    ),
    Mutant(
        "an excursion that a flip ends goes on",
        TRIPS,
        "        if new or sense.is_over:\n",
        "        if sense.is_over:\n",
    ),
    Mutant(
        "an excursion leaves out the prices of its fills",
        TRIPS,
        "            if price < self._lows[number]:\n",
        "            if price < 0:\n",
    ),
    # Solvency.
    Mutant(
        "ruin begins below zero, not at it",
        SOLVENCY,
        "    if equity <= 0:",
        "    if equity < 0:",
    ),
    Mutant(
        "a currency that owes ruins nobody",
        SOLVENCY,
        "            return balance.currency\n",
        "            pass\n",
    ),
    Mutant(
        # Those of the whole account are never narrower: it is worth something while each of its currencies is.
        "bounds of ruin are wider than what would ruin",
        SOLVENCY,
        "share = min(share, worth / notional / 4)",
        "share = min(share, worth / notional * 4)",
    ),
    Mutant(
        "bounds are not narrowed by a currency of its own",
        SOLVENCY,
        "share = min(share, worth / notional / 4) if notional > 0 else share",
        "share = share",
    ),
    Mutant(
        "only marks below their bounds are looked at",
        SOLVENCY,
        "if window.min() <= low or window.max() >= high:",
        "if window.min() <= low:",
    ),
    Mutant(
        "the worst of a batch is looked for on the side that gains",
        WORTH,
        "(lows if held.is_long else highs)",
        "(highs if held.is_long else lows)",
    ),
    Mutant(
        "the mark from before a batch is not among its extremes",
        MARKS,
        "(min(low, carried), max(high, carried))",
        "(low, high)",
    ),
    Mutant(
        "the mid of a book stays where it is",
        MARKS,
        "return math.ulp(0.0), math.inf",
        "return 1.0, 1.0",
    ),
    Mutant(
        "an account that outlives its batch in all needs no currency to",
        SOLVENCY,
        "                if worth <= 0 and (worth < 0 or balance.contracts):\n                    return False\n",
        "                pass\n",
    ),
    # Funding.
    Mutant(
        "a fill at the boundary pays",
        HISTORY,
        "            if fill.filled_ns >= boundary_ns:\n",
        "            if fill.filled_ns > boundary_ns:\n",
    ),
    Mutant(
        "a boundary is charged each time it is told",
        BOOKINGS,
        "if not self._settlements.begin(funding) or not any(lots for _, lots in held):",
        "self._settlements.begin(funding)\n        if not any(lots for _, lots in held):",
    ),
    Mutant(
        "what trades at the boundary's own stamp values it",
        FUNDING,
        "stamps <= boundary_ns if self._counts_own_stamp else stamps < boundary_ns",
        "stamps <= boundary_ns",
    ),
    Mutant(
        "mids that come one by one are kept while a position has the mark looked at",
        FUNDING,
        "            self._keep_standing(*cursor.stamps_at(0))\n",
        "            if len(self._mark.known_rows()[0]):\n                self._keep_standing(*cursor.stamps_at(0))\n",
    ),
    Mutant(
        "mids of a large batch are kept while a position has the mark looked at",
        FUNDING,
        "                self._keep(replay.last_ns, replay, cursor.rows)\n",
        "                pass\n",
    ),
    # Gates and skipped rows.
    Mutant(
        "a price equal to a bound of the band is no hit",
        STREAMS,
        "        if np.minimum.reduce(below) <= low or np.maximum.reduce(above) >= high:\n"
        "            found, is_hit = start + int(((below <= low) | (above >= high)).argmax()), True\n",
        "        if np.minimum.reduce(below) < low or np.maximum.reduce(above) > high:\n"
        "            found, is_hit = start + int(((below < low) | (above > high)).argmax()), True\n",
    ),
    Mutant(
        "the moment of an arrival is searched a row late",
        STREAMS,
        "else clock, moment_ns, row)",
        "else clock, moment_ns + 1, row)",
    ),
    Mutant(
        "a band that has changed is searched from its last place on",
        STREAMS,
        "            self._search(start)\n\n    def search_on",
        "            pass\n\n    def search_on",
    ),
    Mutant(
        "bands are a step too wide",
        TRADED,
        "(AT_LEVEL if self.touch else PAST_LEVEL)",
        "(AT_LEVEL if self.touch else PAST_LEVEL - 1)",
    ),
    # Markets.
    Mutant(
        "a touch fills a resting order",
        EXCHANGE_ORDER,
        "return ticks < self.limit_ticks if self.is_buy else ticks > self.limit_ticks",
        "return ticks <= self.limit_ticks if self.is_buy else ticks >= self.limit_ticks",
    ),
    Mutant(
        "a candle's limits fill before its stops",
        TRADED,
        "            (stops if is_stop else targets).append(order)\n",
        "            targets.append(order)\n",
    ),
    Mutant(
        "an order fills in the candle within which it arrived",
        TRADED,
        "            if order.arrived_ns > open_ns or order.state.is_final or self._is_held(order):\n",
        "            if order.state.is_final or self._is_held(order):\n",
    ),
    Mutant(
        "the queue does not shrink with the display",
        QUEUES,
        "Moved(stamp_ns, ahead, None, 0, shown))\n            place.ahead = shown\n",
        "Moved(stamp_ns, ahead, None, 0, shown))\n",
    ),
    Mutant(
        "the queue grows with the display",
        QUEUES,
        "        elif shown < ahead:\n",
        "        else:\n",
    ),
    Mutant(
        "a trade is counted again when the level shrinks",
        QUEUES,
        "at_rest = before - place.printed",
        "at_rest = before",
    ),
    Mutant(
        "trades explain later cancels for ever",
        QUEUES,
        "        place.shown = shown\n        place.printed = 0\n",
        "        place.shown = shown\n",
    ),
    Mutant(
        "a level that shows the same size anew forgets its trades",
        QUEUES,
        "        if shown == before:\n            return\n",
        "        if shown == before:\n            place.printed = 0\n            return\n",
    ),
    Mutant(
        "more cancel behind than stood there",
        QUEUES,
        "min(self._part_behind(ahead, behind) * cancelled, behind)",
        "self._part_behind(ahead, behind) * cancelled",
    ),
    Mutant(
        "a queue's place is rounded down",
        QUEUES,
        "math.ceil(ahead - (cancelled - from_behind) - _NOISE)",
        "math.floor(ahead - (cancelled - from_behind) + _NOISE)",
    ),
    Mutant(
        "a gap is read as cancels",
        QUEUES,
        "        super().lose_sight(place)\n        place.shown = None\n",
        "        super().lose_sight(place)\n",
    ),
    Mutant(
        "a trade beyond our price by our own side fills us unasked",
        DISPLAYED,
        "order.is_beyond(ticks) and (self._own_side_prints or side is not order.side)",
        "order.is_beyond(ticks)",
    ),
    Mutant(
        "without books a trade by our own side fills us unasked",
        TRADED,
        "if side is order.side and not self._own_side_prints:",
        "if False:",
    ),
    Mutant(
        "two orders at one price share the same print twice",
        DISPLAYED,
        "                    shared += ours\n",
        "",
    ),
    Mutant(
        "what was taken of a level is there again for the next order",
        DISPLAY_WALK,
        "lots = max(0, shown - self._taken.get((side, ticks), (0, 0))[0])",
        "lots = shown",
    ),
    Mutant(
        "a display is stale a moment too early",
        DISPLAYED,
        "at_ns - self.updated_ns > self._stale_after_ns",
        "at_ns - self.updated_ns >= self._stale_after_ns",
    ),
    Mutant(
        "rows from before an arrival fill it",
        DISPLAYED,
        "        if order.arrived_ns <= stamp_ns:\n            best = self._best_untaken",
        "        if True:\n            best = self._best_untaken",
    ),
    # The account.
    Mutant(
        "contracts may lose what a sale had locked",
        ACCOUNT,
        "if is_within and not self.ledger.backs_contracts(lock.currency):",
        "if is_within and not self.ledger.open_contracts(lock.currency):",
    ),
    Mutant(
        "what is locked is not given back",
        FUNDS,
        "            self.hold(lock.currency, freed.copy_negate())\n",
        "",
    ),
    Mutant(
        "leverage is judged without the fee of the fill",
        BOUND,
        "worth = equity - Fraction(fee) + (-gain if instrument.is_inverse else gain)",
        "worth = equity + (-gain if instrument.is_inverse else gain)",
    ),
    Mutant(
        "leverage is judged by the fill's own price alone",
        BOUND,
        "for price in (instrument.price_decimal(ticks), mark):",
        "for price in (instrument.price_decimal(ticks),):",
    ),
    Mutant(
        "leverage is judged without the fee of the fill, in floats",
        BOUND,
        "equity -= fee + cost + value * order.side.sign",
        "equity -= cost + value * order.side.sign",
    ),
    Mutant(
        "leverage is judged by the fill's own price alone, in floats",
        BOUND,
        "        if mark is None:\n            return True\n        worth = after * own",
        "        return True\n        worth = after * own",
    ),
    Mutant(
        "floats decide what is equal",
        BOUND,
        "return notional + SLACK * (notional + size * leverage) < equity * leverage",
        "return notional <= equity * leverage",
    ),
    Mutant(
        "the other contracts do not count, in floats",
        BOUND,
        "            notional += other.most_lots * per_lot if at_worst and other.orders else abs(worth)\n",
        "",
    ),
    Mutant(
        "an order that has ended is still among the open ones",
        FUNDS,
        "            own.orders.pop(order.id, None)\n",
        "",
    ),
    Mutant(
        "what an order has filled still counts as open",
        FUNDS,
        "            own.open_lots[order.is_buy] -= lots\n",
        "",
    ),
    Mutant(
        "cash is free though it is locked",
        FUNDS,
        "covers(currency, EXACT.add(amount, self.locked(currency)))",
        "covers(currency, amount)",
    ),
    Mutant(
        "notional that equals the bound is refused",
        BOUND,
        "        if notional <= equity * self._max_leverage:\n",
        "        if notional < equity * self._max_leverage:\n",
    ),
    Mutant(
        "orders of the other contracts do not count",
        HOLDING,
        "        return max(abs(held + buys), abs(held - sells))\n",
        "        return abs(held)\n",
    ),
    Mutant(
        "a market buy locks no margin above the last price",
        FUNDS,
        "-(-price * (100 + MARKET_LOCK_MARGIN_PCT) // 100)",
        "price",
    ),
    Mutant(
        "a fee in coins is taken from sales too",
        HOLDING,
        "if self.pays_in_coins and side is Side.BUY:",
        "if self.pays_in_coins:",
    ),
    Mutant(
        "a later message overtakes an earlier one where clocks move",
        SENDER,
        "self._left_ns = max(sent_ns - offset_ns, self._left_ns)",
        "self._left_ns = sent_ns - offset_ns",
    ),
    Mutant(
        "overdue messages are taken by market, not by arrival",
        SENDER,
        "return min(due, key=_arrival)",
        "return due[0]",
    ),
    Mutant(
        "news of an order overtakes older news of it",
        EXECUTIONS,
        "now_ns, order.reported_ns)\n",
        "now_ns)\n",
    ),
    # The strategy's side.
    Mutant(
        "a target forgets what an order has filled already",
        TARGETS,
        "qty = instrument.qty(order.filled_lots + abs(lots))",
        "qty = instrument.qty(abs(lots))",
    ),
    Mutant(
        "a target that was reached is taken for reached after another one",
        TARGETS,
        "        desk.target, desk.reached = orders.desks[instrument.id].open.get(order.id), None\n",
        "        desk.target = orders.desks[instrument.id].open.get(order.id)\n",
    ),
    Mutant(
        "news of an order leaves a target reached",
        ORDERS,
        "        held.reached = None\n",
        "",
    ),
    Mutant(
        "a quote is amended though nothing has changed",
        QUOTES,
        "        if (kept.lots != lots or kept.ticks != ticks) and not self._orders.refusal:\n",
        "        if not self._orders.refusal:\n",
    ),
    Mutant(
        "a quote whose change was refused is left as it is",
        QUOTES,
        "        if is_same and kept.lots == quote.lots and kept.ticks == quote.ticks:\n",
        "        if is_same:\n",
    ),
    Mutant(
        "closing cancels the order that closes",
        TARGETS,
        "            if order.leg == desk.leg and (kept is None or order is not kept.order):\n",
        "            if order.leg == desk.leg:\n",
    ),
    Mutant(
        "a refused change is still what was asked for last",
        ORDERS,
        "        elif reason.startswith(AMEND_REFUSED):\n",
        '        elif reason.startswith("never"):\n',
    ),
    # The ledger.
    Mutant(
        "a flip carries the whole of its value into the new position",
        MONEY,
        "self.num, self.den = value * (closed - before), closed",
        "self.num, self.den = value, 1",
    ),
    Mutant(
        "the part that stays keeps the whole cost",
        MONEY,
        "                self.num *= before - closed\n                self.den *= before\n",
        "                pass\n",
    ),
    Mutant(
        "a fee in coins makes a profit",
        PORTFOLIO,
        "paid = net.count_money(EXACT.multiply(fee, instrument.price_decimal(fill.ticks)))\n",
        "paid = 0\n",
    ),
    Mutant(
        "shorts pay funding like longs",
        PORTFOLIO,
        "decimal_of(rate).copy_negate())",
        "decimal_of(rate).copy_negate().copy_abs())",
    ),
    Mutant(
        "a trip goes on while dust is left",
        TRIPS,
        "sense.split(fill, position.instrument, trips.held, position.lots)",
        "sense.split(fill, position.instrument, trips.held, position.lots_covering)",
    ),
    Mutant(
        "an account of coins is converted as the pair is written",
        PORTFOLIO,
        "return price if via.base == currency else 1 / price",
        "return price",
    ),
    # The mid of a book as a mark.
    Mutant(
        "a twin of a book does not lose its way at a gap",
        MARKS,
        "            twin.invalidate()\n",
        "",
    ),
    Mutant(
        "a gap between two batches is missed by a book's twin",
        MARKS,
        "        twin.is_valid = cursor.book.is_valid  # gaps may have come since the batch before\n",
        "",
    ),
    Mutant(
        "a twin that has missed rows of a batch goes on in the next one",
        MARKS,
        "if self._rows is None or self._looked < self.cursor.rows:",
        "if self._rows is None:",
    ),
    Mutant(
        "the mid that stood when somebody first asked is not known",
        MARKS,
        "            self._keep(cursor.applied - 1, cursor.applied)\n",
        "            pass\n",
    ),
    Mutant(
        "a best level that goes moves no mid",
        ORDERBOOK,
        " or gone_bids[row] >= bid or ",
        " or ",
    ),
    Mutant(
        "a bid beyond the book's window crosses no ask",
        ORDERBOOK,
        "        if self._bid_high <= self._ask_low and not self._has_stray:\n",
        "        if self._bid_high <= self._ask_low:\n",
    ),
    Mutant(
        "a reader of a book gets the next few rows only",
        CURSORS,
        "            if row < near:\n                return row\n",
        "            return row\n",
    ),
    # News of orders.
    Mutant(
        "an execution that is told twice counts twice",
        REDUCER,
        "            if news.execution_id not in record.executions:\n",
        "            if news:\n",
    ),
    Mutant(
        "an execution that is told again after the end counts again",
        REDUCER,
        "    if not isinstance(news, Executed) or news.execution_id in record.executions:\n",
        "    if not isinstance(news, Executed):\n",
    ),
    Mutant(
        "an execution after the end is lost",
        REDUCER,
        "    if not isinstance(news, Executed) or news.execution_id in record.executions:\n",
        "    if news:\n",
    ),
    Mutant(
        "the end of an order does not wait for its executions",
        REDUCER,
        "record.ending is None or record.lacks_executions:",
        "record.ending is None:",
    ),
    Mutant(
        "the filled size that was told goes back with older news",
        REDUCER,
        "    told_lots = max(record.told_lots, news.filled_lots or 0)\n    if told_lots > record.told_lots:\n",
        "    told_lots = news.filled_lots or 0\n    if told_lots != record.told_lots:\n",
    ),
    Mutant(
        "older news of an order's size wins",
        REDUCER,
        "news.whole_lots is not None and news.at_ns >= record.lots_ns:",
        "news.whole_lots is not None:",
    ),
    Mutant(
        "an execution does not imply the acknowledgement",
        REDUCER,
        '        """Count an execution."""\n        self.accept()\n',
        '        """Count an execution."""\n',
    ),
    Mutant(
        "an order whose outcome is unknown is over",
        REDUCER,
        "        self.tell(UNKNOWN_REASONS[news.what])\n",
        "        self.end(OrderState.REJECTED, UNKNOWN_REASONS[news.what])\n",
    ),
    Mutant(
        "a refusal that comes late ends an order that is working",
        REDUCER,
        "            if record.state is OrderState.PENDING:\n                step.end(",
        "            if record:\n                step.end(",
    ),
    Mutant(
        "an answer that is told twice is reported twice",
        REDUCER,
        "        if request in record.answered:\n",
        "        if not request:\n",
    ),
    Mutant(
        "news counts in a moment that the run has gone through",
        QUEUE,
        "return max(self._waiting[0].received_ns, self._taken_ns + 1)",
        "return self._waiting[0].received_ns",
    ),
    Mutant(
        "news is taken before the run has come to its moment",
        QUEUE,
        "(stamp_ns := self._first_ns()) <= until_ns:",
        "(stamp_ns := self._first_ns()) is not None:",
    ),
    Mutant(
        "news that was left waits for the next row",
        QUEUE,
        "        self._note(taken, until_ns)\n        self._wake_for_first()\n",
        "        self._note(taken, until_ns)\n",
    ),
    Mutant(
        "the log gets news at the end of the run as if it had come before",
        QUEUE,
        "self._note(taken, None)",
        "self._note(taken, NEVER_NS)",
    ),
    Mutant(
        "an order leaves before it is in the log",
        NEWS,
        '            self._leave(now_ns, "cancel", self._orders[order_id], None, None)\n'
        "            self._gateway.cancel(order_id, self._requests)\n",
        "            self._gateway.cancel(order_id, self._requests + 1)\n"
        '            self._leave(now_ns, "cancel", self._orders[order_id], None, None)\n',
    ),
    Mutant(
        "the end of the run does not wait for the ends of its orders",
        NEWS,
        "            while self._hear_rest() and self._open():\n",
        "            while False:\n",
    ),
    Mutant(
        "what the last news shows to be missing is not waited for",
        NEWS,
        "            while self._hear_rest() and self._open():\n                pass",
        "            if self._hear_rest() and self._open():\n                pass",
    ),
    Mutant(
        "a cancel that was refused cannot be sent again",
        ORDERS,
        "        elif reason.startswith((CANCEL_REFUSED, CANCEL_UNKNOWN)):\n"
        "            desk.open[order.id].is_cancelling = False  # it may be sent once more\n",
        "",
    ),
    # Commands from outside.
    Mutant(
        "an order leaves while the run is paused",
        ORDERS,
        "            if self.is_paused:\n                self._broker.refuse(order, now_ns, PAUSED)\n            elif ",
        "            if ",
    ),
    Mutant(
        "a change leaves while the run is paused",
        ORDERS,
        "        if self.is_paused:\n            self._broker.refuse_amend(",
        "        if False:\n            self._broker.refuse_amend(",
    ),
    Mutant(
        "commands count before time has passed to the end of their batch",
        ENGINE,
        "self._loop.wake_until(end_ns + 1)\n                    self._parts.commands.take(end_ns)\n",
        "self._parts.commands.take(end_ns)\n                    self._loop.wake_until(end_ns + 1)\n",
    ),
    Mutant(
        "a command does its work at the time of the row before it",
        COMMANDS,
        "            self._position.now_ns = now_ns\n",
        "",
    ),
    Mutant(
        "one command a batch",
        COMMANDS,
        "        while (command := source.take(now_ns)) is not None:\n",
        "        if (command := source.take(now_ns)) is not None:\n",
    ),
    Mutant(
        "a refusal is told at once, however fast the exchange",
        BROKER,
        "        refused.reported_ns = now_ns + REFUSED_AFTER_NS\n",
        "",
    ),
    Mutant(
        "a refused change is not looked for",
        BROKER,
        '            self._executions.report(order, order.state, f"{AMEND_REFUSED}: {reason}", at_ns)\n'
        "            self._dirty.add(order.instrument)\n",
        '            self._executions.report(order, order.state, f"{AMEND_REFUSED}: {reason}", at_ns)\n',
    ),
    Mutant(
        "a change of an order that is over at the exchange is refused",
        BROKER,
        "        order = self.orders[order_id]\n        if not order.state.is_final:\n",
        "        order = self.orders[order_id]\n        if order:\n",
    ),
    Mutant(
        "the end of a run cancels at the gateway what never left",
        NEWS,
        "filter(self._is_out, self._open())",
        "self._open()",
    ),
    Mutant(
        "a cancel leaves for an order that never did",
        NEWS,
        "        return record.request != _NOT_SENT and not record.state.is_final\n",
        "        return not record.state.is_final\n",
    ),
    Mutant(
        "a refusal waits behind news that comes later",
        NEWS,
        "deque(sorted([*self._waiting, *news], key=_received_ns))",
        "deque([*self._waiting, *news])",
    ),
    Mutant(
        "a command counts before it is in the log",
        GIVEN,
        "        if self._log is not None:\n            self._log.command(command)\n        if",
        "        if",
    ),
    Mutant(
        "a stop does not end the feed",
        GIVEN,
        '        if command.name == "stop" and feed is not None:\n            feed.stop()\n',
        "",
    ),
    Mutant(
        "a repetition takes commands at any moment",
        REPLAYER,
        "not isinstance(entry, RunCommand) or entry.taken_ns != now_ns:",
        "not isinstance(entry, RunCommand):",
    ),
    Mutant(
        "a command that a repetition has not taken is passed over",
        REPLAYER,
        "        if isinstance(entry, RunCommand):\n            raise",
        "        if False:\n            raise",
    ),
    # The control endpoint.
    Mutant(
        "a wrong token gets in",
        ENDPOINT,
        '            if hmac.compare_digest(token.encode(errors="replace"), self._token.encode()):\n',
        "            if token:\n",
    ),
    Mutant(
        "wrong tokens are answered at once",
        ENDPOINT,
        "            await asyncio.sleep(wait_s)\n",
        "",
    ),
    Mutant(
        "a slow reader gets every status",
        ENDPOINT,
        "                await writer.drain()\n            await",
        "            await",
    ),
    Mutant(
        "what the engine leaves is lost once its thread was slow",
        ENDPOINT,
        "            is_told, self._left = self._left is not None, status\n",
        "            is_told, self._left = self._newest.number > 0, status\n",
    ),
    Mutant(
        "statuses are taken though nobody reads",
        ENDPOINT,
        "        return self._watchers > 0\n",
        "        return True\n",
    ),
    Mutant(
        "everybody may read the address",
        CONTROL,
        "os.O_EXCL, 0o600)",
        "os.O_EXCL, 0o644)",
    ),
    Mutant(
        "the address of a run that was killed counts",
        CONTROL,
        "            return is_ours\n",
        "            return False\n",
    ),
    Mutant(
        "a message may be as long as it says",
        CONTROL,
        "        if not 0 < length <= bytes_max:\n",
        "        if length < 0:\n",
    ),
    # The search along a book's rows while orders rest.
    Mutant(
        "a search outlives its batch",
        BOOK_STREAM,
        "self._is_searching and index > 0 and",
        "self._is_searching and",
    ),
    Mutant(
        "a search goes on by steps that have changed",
        BOOK_STREAM,
        " and market.instrument is self._instrument\n",
        "\n",
    ),
    Mutant(
        "the first row of a window is not looked through",
        BOOK_STREAM,
        "        row, trade = self._row, self._trade_row\n",
        "        row, trade = self._row + (self._horizon != 0), self._trade_row\n",
    ),
    Mutant(
        "the first trade of a window is not looked through",
        BOOK_STREAM,
        "        row, trade = self._row, self._trade_row\n",
        "        row, trade = self._row, self._trade_row + 1\n",
    ),
    Mutant(
        "a search passes over snapshots",
        BOOK_STREAM,
        "        found = min([last, *rows.snapshots[snapshot : snapshot + 1]])\n",
        "        found = last + 0 * snapshot\n",
    ),
    Mutant(
        "a search goes on through a gap",
        BOOK_STREAM,
        "NOWHERE if gaps is None or not gaps.rows else gaps.index_of(gaps.row_at(index))",
        "NOWHERE if gaps is None or not gaps.rows or index else NOWHERE",
    ),
    Mutant(
        "rows from before an arrival are passed over",
        BOOK_STREAM,
        "            if order.arrived_ns > clock_ns:\n",
        "            if order.arrived_ns > clock_ns + NEVER_NS:\n",
    ),
    Mutant(
        "rows are passed over while the other side has reached an order",
        BOOK_STREAM,
        "(ask is not None and ask <= order.limit_ticks)\n",
        "(ask is not None and ask < 0)\n",
    ),
    Mutant(
        "rows are passed over while an order waits for the next update",
        BOOK_STREAM,
        "market.taken or market.is_waiting or rows",
        "market.taken or rows",
    ),
    Mutant(
        "rows are passed over while a stop waits for a best price",
        BOOK_STREAM,
        "                    return True  # the best price sets it off, which moves as levels go\n",
        "                    continue\n",
    ),
    Mutant(
        "a level of the other side is looked for beyond the limit alone",
        BOOK_STREAM,
        "if asks and min(asks) <= self._bids_to:",
        "if asks and min(asks) < self._bids_to:",
    ),
    Mutant(
        "a trade a tick beyond a limit is passed over",
        BOOK_STREAM,
        "price(order.limit_ticks) + beside), max(bids_to, order.limit_ticks)",
        "price(order.limit_ticks) + beside - step), max(bids_to, order.limit_ticks)",
    ),
    Mutant(
        "an empty level is taken for known",
        QUEUE_SCAN,
        " or (order.ahead != 0 and book.size(order.side, order.limit_ticks) == 0.0)\n",
        "\n",
    ),
    Mutant(
        "a row that empties a level is taken for known",
        QUEUE_SCAN,
        "                if size == 0.0:\n                    self.next_index = index\n                    return\n",
        "",
    ),
    Mutant(
        "a part of a size step ahead counts as nothing",
        QUEUE_SCAN,
        "self._instrument.lots_ceil(",
        "self._instrument.lots_floor(",
    ),
    Mutant(
        "prints of our own side move the queue",
        QUEUE_SCAN,
        "self._side = int(order.is_buy)",
        "self._side = int(not order.is_buy)",
    ),
    Mutant(
        "an order's place is settled by the row of the moment too",
        QUEUE_SCAN,
        "seen = bisect_left(self._indices, index)",
        "seen = bisect_left(self._indices, index + 1)",
    ),
    # Triggers and ends of time.
    Mutant(
        "a take profit is reached from the near side",
        TRIGGERS,
        "self.is_upward = self._is_buy is not self.is_target",
        "self.is_upward = self._is_buy",
    ),
    Mutant(
        "what trails is rounded towards the market",
        TRIGGERS,
        "whole = -(-steps // 1) if self._is_buy else steps // 1",
        "whole = steps // 1 if self._is_buy else -(-steps // 1)",
    ),
    Mutant(
        "the search passes over a new best price",
        TRIGGERS,
        "else self._best - beside",
        "else self._best - 9 * beside",
    ),
    Mutant(
        "an order that the mark has set off may fill by rows before it",
        MARKET,
        "                order.arrived_ns = at_ns\n",
        "",
    ),
    Mutant(
        "rows of the index set off what waits for the mark",
        MARK_STREAM,
        'TriggerType.INDEX: "index"}',
        'TriggerType.INDEX: "mark"}',
    ),
    Mutant(
        "an order expires after a message of the same moment",
        ARRIVALS,
        "expiry.expire_ns <= message.arrives_ns",
        "expiry.expire_ns < message.arrives_ns",
    ),
    Mutant(
        "a change of a trigger that has gone off is let in",
        ARRIVALS,
        "if message.change is not None and order.is_triggered:",
        "if message.change is not None and False:",
    ),
    Mutant(
        "a refused change of a stop moves what it is valued at",
        ARRIVALS,
        "            order.trigger_ticks = trigger_ticks\n",
        "",
    ),
    # Groups, brackets, reduce-only orders.
    Mutant(
        "a fill takes nothing off the others of its group",
        GROUPS,
        "            if other is not order and not other.state.is_final:\n",
        "            if False:\n",
    ),
    Mutant(
        "an order that joins a group late is whole",
        GROUPS,
        "order.lots if group is None else order.lots - group.filled_lots",
        "order.lots",
    ),
    Mutant(
        "a change makes an order of a group larger than its fills leave",
        GROUPS,
        "return min(lots, max(lots, *group.sizes.values()) - (group.filled_lots - order.filled_lots))",
        "return lots",
    ),
    Mutant(
        "a position that others close keeps its children",
        BRACKETS,
        "        if leg in self._claims:\n            self._fit(leg, at_ns)\n",
        "",
    ),
    Mutant(
        "a further fill of a parent is left without protection",
        BRACKETS,
        "            self._executions.grow(leg, lots, PARENT_FILLED, at_ns)\n",
        "            pass\n",
    ),
    Mutant(
        "a resting child that grows keeps its place",
        BRACKETS,
        "                market.requeue(leg, at_ns)\n",
        "                pass\n",
    ),
    Mutant(
        "a reduce-only order with a worse price is covered first",
        REDUCE_ONLY,
        "    return (NO_PRICE - order.limit_ticks) if order.is_buy else order.limit_ticks\n",
        "    return order.limit_ticks if order.is_buy else (NO_PRICE - order.limit_ticks)\n",
    ),
    # Sizes by money, margin.
    Mutant(
        "money that was spent is spent again",
        SPENDING,
        "order.spent = self._cost(order, order.spends, ticks).spent(lots)",
        "pass",
    ),
    Mutant(
        "a risk is bought at its stop",
        SPENDING,
        "if stop is not None and ((price - stop) * order.side.sign <= 0 or stop <= 0):",
        "if stop is not None and stop <= 0:",
    ),
    Mutant(
        "a sale that travels with its money sells coins that are not there",
        ACCOUNT,
        "if lock is None and not order.is_buy:",
        "if False:",
    ),
    Mutant(
        "an order that travels with money is not cut to what the account has",
        SPENDING,
        "lots = self._account.affordable_lots(order, wanted, ticks, is_maker=False) if wanted else 0",
        "lots = wanted",
    ),
    Mutant(
        "a liquidation leaves the orders of its scope",
        LIQUIDATIONS,
        "                self._executions.cancel(order, LIQUIDATION, at_ns)\n",
        "                break\n",
    ),
    Mutant(
        "a position is judged by the mark before",
        LIQUIDATIONS,
        "            cursor.advance(cursor.row_at(index + 1))  # the book as the row leaves it\n",
        "            pass\n",
    ),
    Mutant(
        "what rounding left of a liquidation is lost",
        LIQUIDATIONS,
        "            due += rest\n",
        "            due += 0\n",
    ),
    Mutant(
        "closing fills cost more than the margin",
        LIQUIDATIONS,
        "        if not marked or margins.left(marked) >= 0:\n",
        "        if True:\n",
    ),
    Mutant(
        "an isolated fill may lose its whole margin at the mark",
        MARGIN_BOUND,
        "            return margin + (-gain if instrument.is_inverse else gain) > 0\n",
        "            return True\n",
    ),
    Mutant(
        "what spot orders hold back is margin",
        MARGIN_BOUND,
        "        return None if backing is None else backing - Fraction(self._locks.of(currency))\n",
        "        return backing\n",
    ),
    Mutant(
        "what a share leaves of a limit fills at the open",
        TRADED,
        "                at = order.limit_ticks if order.is_passed else ticks\n",
        "                at = ticks\n",
    ),
    # Orders that go off, groups on candles, children that change.
    Mutant(
        "an update from before the trade that set a stop off fills it",
        DISPLAYED,
        "                    self._waiting[order] = stamp_ns\n",
        "                    self._waiting[order] = NO_STAMP_NS\n",
    ),
    Mutant(
        "an update from before a stop arrived sets it off",
        DISPLAYED,
        "                    or order.arrived_ns > stamp_ns\n",
        "                    or order.arrived_ns > at_ns\n",
    ),
    Mutant(
        "an order that goes off works before those that do so already",
        MARKET,
        "        self.orders.remove(order)\n        self.orders.append(order)\n        return self.venue",
        "        return self.venue",
    ),
    Mutant(
        "an order that goes off is not judged by the price limit",
        EXECUTIONS,
        "            if not band.allows(order.limit_ticks, is_buy=order.is_buy):\n",
        "            if False:\n",
    ),
    Mutant(
        "a bracket's stop outside the price limit ends",
        EXECUTIONS,
        "                if not order.is_child:\n",
        "                if order:\n",
    ),
    Mutant(
        "an order that goes off leaves reduce-only orders as they are",
        EXECUTIONS,
        "        self.tell_of_change(order, at_ns)\n        return",
        "        return",
    ),
    Mutant(
        "a fill-or-kill order takes what the account can have of it",
        DISPLAY_WALK,
        "        return self._listener.may_fill(order, next(ticks for ticks, lots, _ in reversed(offers) if lots))\n",
        "        return True\n",
    ),
    Mutant(
        "a fill-or-kill order that its group has cut goes on",
        ARRIVALS,
        "left <= 0 or order.tif is TimeInForce.FOK",
        "left <= 0",
    ),
    Mutant(
        "a child that is made larger claims more than the position",
        ARRIVALS,
        "            if is_larger and order.is_child:\n",
        "            if False:\n",
    ),
    Mutant(
        "a group fills others while one of it waits for the next open",
        TRADED,
        "        return bool(group) and any(\n",
        "        return False and any(\n",
    ),
    Mutant(
        "what a range proves to have come after an entry does not count against its stop",
        TRADED,
        "        elif trigger.is_reached(*entry.reached):\n",
        "        elif False:\n",
    ),
    Mutant(
        "a child takes no part in the open that it comes at",
        TRADED,
        "        if self._open is not None and order.arrived_ns <= self._open[1]:\n",
        "        if False:\n",
    ),
    Mutant(
        "what an open filled leaves its range the whole share",
        TRADED,
        "        self._allow(volume, self._opened[1] if self._opened[0] == open_ns else 0)\n",
        "        self._allow(volume)\n",
    ),
    Mutant(
        "a risk's stop does not follow the price that fills",
        SIZES,
        "        return self.stop if offset is None else price - offset * side.sign\n",
        "        return self.stop\n",
    ),
    Mutant(
        "an order sized by money is refused where there is less",
        ARRIVALS,
        'if refusal == "insufficient_cash" and is_new and order.is_sized and order.is_buy:',
        "if False:",
    ),
    Mutant(
        "a mark comes before the orders that have arrived by its stamp",
        ORDER_MESSAGE,
        "order.trigger is not None and not order.is_triggered and order.trigger.type is not TriggerType.LAST",
        "False",
    ),
    Mutant(
        "a cross scope keeps what rounding left of its balance",
        LIQUIDATIONS,
        "_exactly(due) if self._is_cross and taken is all_taken[-1] else _floor(due)",
        "_floor(due)",
    ),
    Mutant(
        "no tier bounds a position",
        MARGIN_BOUND,
        "        return abs(after) + beside > self._largest[own.id]\n",
        "        return False\n",
    ),
]
