"""The sandbox as clients of others use it: python-okx and ccxt, driven over every operation that reads.

What they can ask is taken from their own code, so that a new version's operations come in by themselves. What OKX has
and the sandbox has not is refused in OKX's form; which that is stands here, and nothing else may be refused.
"""

import asyncio
import importlib
import inspect
import json
import subprocess
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.rest import ENDPOINTS
from quantkit.sandbox.rules import Rules
from quantkit.sandbox.server import SandboxServer

pytest.importorskip("okx.okxclient", reason="python-okx is not installed: pip install 'quantkit[ci]'")
ccxt = pytest.importorskip("ccxt", reason="ccxt is not installed: pip install 'quantkit[ci]'")

# They are not ours to mend: calls that newer Pythons deprecate, sockets that nobody closes.
pytestmark = pytest.mark.filterwarnings("ignore")

RULES: Final = Rules(limits_rest=False, connects_per_s=100)
KEY, SECRET, PASSPHRASE = "sandbox-key", "sandbox-secret", "sandbox-pass"
SWAP: Final = "BTC-USDT-SWAP"
#: What a parameter of python-okx is given, by its name; others get "1" where they have to be given.
VALUES: Final = {
    "instId": SWAP,
    "instType": "SWAP",
    "instFamily": "BTC-USDT",
    "uly": "BTC-USDT",
    "mgnMode": "cross",
    "tdMode": "cross",
    "ordType": "conditional",
    "ordId": "7",
    "algoId": "7",
    "px": "100000",
    "sz": "1",
}
#: Those that take an index or a pair.
OWN_VALUES: Final = {
    "get_index_tickers": {"instId": "BTC-USDT"},
    "get_index_candlesticks": {"instId": "BTC-USDT"},
    "get_market_data_history": {"dateAggrType": "daily", "instFamilyList": "BTC-USDT"},
}
#: A flat account has no such order, and no position mode is called 1.
OKX_CODES: Final = {"get_order": "51603", "get_algo_order_details": "51603", "set_position_mode": "51000"}
OKX_MODULES: Final = ("Account", "MarketData", "PublicData", "Trade", "Status", "Funding", "TradingData", "Convert")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[SandboxServer]:
    with SandboxServer(GeneratedMarket(orders_per_s=100.0), rules=RULES, log=ExchangeLog()) as server:
        yield server


# python-okx ---------------------------------------------------------------------------------------------------


def python_okx(module: str, url: str, **options: Any) -> Any:
    """Return python-okx's client of a module, its signed requests for the sandbox."""
    found = importlib.import_module(f"okx.{module}")
    (client,) = (each for name, each in vars(found).items() if name.endswith("API") and inspect.isclass(each))
    return client(KEY, SECRET, PASSPHRASE, flag="0", domain=url, **options)


def operations(client: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each operation of a python-okx client, with arguments for it."""
    for name, function in vars(type(client)).items():
        if name.startswith("_"):
            continue
        given = OWN_VALUES.get(name, {})
        parameters = list(inspect.signature(function).parameters.values())[1:]
        yield (
            name,
            {
                each.name: given.get(each.name, VALUES.get(each.name, "1"))
                for each in parameters
                if each.name in given or each.name in VALUES or each.default is inspect.Parameter.empty
            },
        )


@pytest.mark.parametrize("module", OKX_MODULES)
def test_python_okx_reads_everything(sandbox: SandboxServer, module: str) -> None:
    """Every operation gets OKX's envelope; those that are built get rows, the others are said to be offline."""
    client = python_okx(module, sandbox.url)
    sent: list[tuple[str, str]] = []
    request = client._request

    def record(method: str, path: str, params: Any) -> Any:
        sent.append((method, path.removeprefix("/api/v5/")))
        return request(method, path, params)

    client._request = record
    counts = {"built": 0, "refused": 0}
    for name, arguments in operations(client):
        before = len(sent)
        try:
            reply = getattr(client, name)(**arguments)
        except ValueError as error:
            # The client itself wants more; or the reply was no JSON.
            reply = {"error": str(error)}
        if len(sent) == before:
            continue
        method, path = sent[-1]
        assert {"code", "msg", "data"} <= set(reply), f"{name}: {reply}"
        if path in ENDPOINTS[method]:
            assert reply["code"] == OKX_CODES.get(name, "0"), f"{name}: {reply}"
            counts["built"] += 1
        else:
            assert (reply["code"], reply["data"]) == ("50005", []), f"{name}: {reply}"
            counts["refused"] += 1
    client.close()
    # Statistics and conversions are not built at all; of what trading needs most is.
    least = {"Account": 14, "MarketData": 12, "PublicData": 10, "Trade": 9, "Status": 1, "Funding": 7}
    assert counts["built"] >= least.get(module, 0), counts


def test_python_okx_reads_what_trading_needs(sandbox: SandboxServer) -> None:
    """The contents, where a reply that is merely well-formed would not do."""
    account, market, public = (python_okx(name, sandbox.url) for name in ("Account", "MarketData", "PublicData"))
    balance = account.get_account_balance(ccy="BTC,USDT")["data"][0]
    assert [each["ccy"] for each in balance["details"]] == ["USDT", "BTC"]
    assert float(balance["totalEq"]) > 100_000
    assert account.get_account_config()["data"][0]["posMode"] == "net_mode"
    assert account.set_position_mode("net_mode")["code"] == "0"
    assert account.set_leverage("5", "cross", instId=SWAP)["code"] == "50005"
    assert account.get_fee_rates("SWAP")["data"][0]["taker"] == "-0.0005"
    assert len(market.get_orderbook(SWAP, "5")["data"][0]["asks"]) == 5
    assert len(market.get_candlesticks(SWAP, limit="7")["data"]) == 7
    assert len(market.get_mark_price_candlesticks(SWAP, limit="7")["data"]) == 7
    assert [row["instId"] for row in public.get_instruments("SPOT")["data"]] == ["BTC-USDT", "ETH-USDT", "SOL-USDT"]
    assert public.get_price_limit(SWAP)["data"][0]["enabled"] is True
    for client in (account, market, public):
        client.close()


def test_python_okx_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sockets insist on TLS, and on certificates that it trusts."""
    import certifi
    from okx.websocket import WsPrivateAsync, WsPublicAsync

    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate),
            *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    # It waits five seconds after each login.
    quick = types.SimpleNamespace(get_event_loop=asyncio.get_event_loop, sleep=lambda _: asyncio.sleep(0.05))
    monkeypatch.setattr(WsPrivateAsync, "asyncio", quick)

    async def frames(client: Any, args: list[dict[str, str]], channel: str) -> dict[str, Any]:
        """Subscribe, and return the first push of a channel."""
        got: asyncio.Queue[str] = asyncio.Queue()
        consumer = await client.start()
        await client.subscribe(args, got.put_nowait)
        async with asyncio.timeout(20):
            while True:
                frame: dict[str, Any] = json.loads(await got.get())
                if "data" in frame and frame["arg"]["channel"] == channel:
                    break
        await client.stop()
        await asyncio.gather(consumer, return_exceptions=True)
        return frame

    async def talk(url: str) -> None:
        public = WsPublicAsync.WsPublicAsync(f"{url}/public")
        push = await frames(public, [{"channel": "tickers", "instId": SWAP}], "tickers")
        assert push["data"][0]["instId"] == SWAP
        business = WsPublicAsync.WsPublicAsync(f"{url}/business")
        push = await frames(business, [{"channel": "mark-price-candle1m", "instId": SWAP}], "mark-price-candle1m")
        assert len(push["data"][0]) == 6
        private = WsPrivateAsync.WsPrivateAsync(KEY, PASSPHRASE, SECRET, f"{url}/private")
        push = await frames(private, [{"channel": "account"}], "account")
        assert push["data"][0]["details"]

    with SandboxServer(rules=RULES, certificate=certificate, key=key) as server:
        asyncio.run(talk(f"{server.ws_url}/ws/v5"))


# ccxt ---------------------------------------------------------------------------------------------------------

#: What ccxt says it can read, and the sandbox has not: loans, conversions, deposits, options, statistics.
CCXT_UNBUILT: Final = {
    "fetchBorrowRateHistories",
    "fetchBorrowRateHistory",
    "fetchConvertCurrencies",
    "fetchConvertQuote",
    "fetchConvertTrade",
    "fetchConvertTradeHistory",
    "fetchCrossBorrowRate",
    "fetchCrossBorrowRates",
    "fetchDepositAddress",
    "fetchDepositAddressesByNetwork",
    "fetchGreeks",
    "fetchLongShortRatioHistory",
    "fetchOpenInterestHistory",
    "fetchTransfer",
}
#: What the account, being flat, has none of.
CCXT_NONE: Final = {"fetchOrder": "OrderNotFound", "fetchPosition": "NullResponse"}
#: Not for swaps, says ccxt before it asks.
CCXT_NOT_ASKED: Final = {"fetchAllGreeks": "BadRequest", "fetchSettlementHistory": "NotSupported"}
CCXT_VALUES: Final = {
    "symbol": "BTC/USDT:USDT",
    "code": "BTC",
    "currency": "BTC",
    "fromCode": "BTC",
    "toCode": "USDT",
    "timeframe": "5m",
    "id": "7",
    "type": "add",
}


def ccxt_okx(module: Any, sandbox: SandboxServer) -> Any:
    """Return ccxt's client, its requests for the sandbox."""
    exchange = module.okx({"apiKey": KEY, "secret": SECRET, "password": PASSPHRASE, "enableRateLimit": False})
    exchange.urls["api"] = {"rest": sandbox.url, "ws": f"{sandbox.ws_url}/ws/v5"}
    return exchange


def test_ccxt_reads_everything(sandbox: SandboxServer) -> None:
    exchange = ccxt_okx(ccxt, sandbox)
    exchange.session.trust_env = False
    assert sorted(exchange.load_markets()) == [
        "BTC/USD:BTC", "BTC/USDT", "BTC/USDT:USDT", "ETH/USDT", "ETH/USDT:USDT", "SOL/USDT",
    ]  # fmt: skip
    outcomes: dict[str, str] = {}
    for capability, has in sorted(exchange.has.items()):
        operation = getattr(exchange, capability, None)
        if not capability.startswith("fetch") or not has or operation is None:
            continue
        parameters = inspect.signature(operation).parameters.values()
        arguments = {
            each.name: CCXT_VALUES.get(each.name, "1")
            for each in parameters
            if each.name in CCXT_VALUES or each.default is inspect.Parameter.empty
        }
        try:
            operation(**arguments)
            outcomes[capability] = "read"
        except ccxt.BaseError as error:
            outcomes[capability] = type(error).__name__
    exchange.session.close()
    expected = dict.fromkeys(CCXT_UNBUILT, "ExchangeNotAvailable") | CCXT_NONE | CCXT_NOT_ASKED
    assert {name: outcome for name, outcome in outcomes.items() if outcome != "read"} == expected
    assert len(outcomes) - len(expected) >= 50


def test_ccxt_reads_what_trading_needs(sandbox: SandboxServer) -> None:
    exchange = ccxt_okx(ccxt, sandbox)
    exchange.session.trust_env = False
    exchange.load_markets()
    balance = exchange.fetch_balance()
    assert (balance["USDT"]["total"], balance["BTC"]["free"]) == (100_000, 1)
    assert exchange.fetch_trading_fee("BTC/USDT")["taker"] == 0.001
    assert exchange.fetch_leverage("BTC/USDT:USDT", {"marginMode": "cross"})["longLeverage"] == 3
    tiers = exchange.fetch_market_leverage_tiers("BTC/USDT:USDT", {"marginMode": "cross"})
    assert tiers[0]["maxLeverage"] == 100
    assert len(exchange.fetch_order_book("BTC/USDT", 500, {"method": "publicGetMarketBooksFull"})["bids"]) > 400
    assert len(exchange.fetch_mark_ohlcv("BTC/USDT:USDT", limit=9)) == 9
    assert exchange.fetch_open_orders() == exchange.fetch_my_trades("BTC/USDT") == []
    with pytest.raises(ccxt.ExchangeNotAvailable, match="50005"):
        exchange.create_order("BTC/USDT", "limit", "buy", 0.01, 90_000)
    exchange.session.close()


def test_ccxt_streams(sandbox: SandboxServer) -> None:
    import ccxt.pro

    swap = "BTC/USDT:USDT"
    watched: dict[str, tuple[Any, ...]] = {
        "watch_ticker": (swap,),
        "watch_bids_asks": ([swap],),
        "watch_mark_price": (swap,),
        "watch_order_book": (swap,),
        "watch_trades": (swap,),
        "watch_ohlcv": (swap, "1m"),
        "watch_funding_rate": (swap,),
        "watch_liquidations": (swap,),
        "watch_balance": (),
        "watch_positions": (),
    }

    async def talk() -> None:
        exchange = ccxt_okx(ccxt.pro, sandbox)
        try:
            await exchange.load_markets()
            for name, arguments in watched.items():
                async with asyncio.timeout(30):
                    assert await getattr(exchange, name)(*arguments) is not None, name
            for name in ("un_watch_ticker", "un_watch_trades", "un_watch_order_book", "un_watch_ohlcv"):
                async with asyncio.timeout(30):
                    assert await getattr(exchange, name)(swap) is True, name
            # It reads the code of the reply, and says that there is no such operation.
            with pytest.raises(ccxt.NotSupported, match="60028"):
                async with asyncio.timeout(30):
                    await exchange.create_order_ws(swap, "limit", "buy", 1, 90_000)
        finally:
            await exchange.close()

    asyncio.run(talk())
