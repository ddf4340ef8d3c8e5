"""REST endpoints of one user: account, orders and funds. The account holds money, and orders of a script alone."""

from collections.abc import Callable
from typing import Final

from quantkit.sandbox.precheck import precheck
from quantkit.sandbox.public import instruments
from quantkit.sandbox.request import KINDS, JsonRows, Refused, RestRequest, Route

#: What OKX sets for who has chosen nothing.
_LEVERAGE: Final = "3"
#: Maker and taker rate of a regular user; below zero the user pays.
_RATES: Final = {"SPOT": ("-0.0008", "-0.001"), "SWAP": ("-0.0002", "-0.0005")}
#: Families of endpoints that take signed requests only.
SIGNED: Final = ("account/", "trade/", "asset/")


# Account ------------------------------------------------------------------------------------------------------


def _config(request: RestRequest) -> JsonRows:
    key = request.user()
    return [
        {
            "acctLv": "2",
            "acctStpMode": "cancel_maker",
            "autoLoan": False,
            "contractIsoMode": "automatic",
            "ctIsoMode": "automatic",
            "enableSpotBorrow": False,
            "feeType": "0",
            "greeksType": "PA",
            "ip": "",
            "kycLv": "2",
            "label": "sandbox",
            "level": _level(request),
            "levelTmp": "",
            "liquidationGear": "-1",
            "mainUid": key.uid,
            "mgnIsoMode": "automatic",
            "opAuth": "0",
            "perm": "read_only",
            "posMode": request.exchange.account.position_mode,
            "roleType": "0",
            "settleCcy": "USDT",
            "settleCcyList": ["USD", "USDC", "USDG"],
            "spotBorrowAutoRepay": False,
            "spotOffsetType": "",
            "spotRoleType": "0",
            "spotTraderInsts": [],
            "stgyType": "0",
            "traderInsts": [],
            "type": "0",
            "uid": key.uid,
        }
    ]


def _level(request: RestRequest) -> str:
    return "VIP4" if request.user().is_vip else "Lv1"


def _balance(request: RestRequest) -> JsonRows:
    account = request.exchange.account
    return [account.account_row(request.market, request.now_ms, names=request.listed("ccy"))]


def _positions(request: RestRequest) -> JsonRows:
    kind, names, ids = request.params.get("instType", ""), request.listed("instId"), request.listed("posId")
    return [
        row
        for row in request.exchange.account.positions
        if kind in ("", row.get("instType"))
        and (not names or row.get("instId") in names)
        and (not ids or row.get("posId") in ids)
    ]


def _instruments(request: RestRequest) -> JsonRows:
    return instruments(request, request.kind())


def _fees(request: RestRequest) -> JsonRows:
    kind = request.kind()
    maker, taker = _RATES.get("SPOT" if kind == "MARGIN" else kind, _RATES["SWAP"])
    wanted = request.params.get("groupId", "")
    groups = sorted({str(row.get("groupId") or "") for row in instruments(request, kind)})
    return [
        {
            "category": "1",
            "delivery": "",
            "exercise": "",
            "feeGroup": [
                {"groupId": group, "maker": maker, "taker": taker, "elpMaker": "", "rpiMaker": ""}
                for group in groups
                if wanted in ("", group)
            ],
            "fiat": [],
            "instType": kind,
            "level": _level(request),
            "maker": maker,
            "makerU": "" if kind in ("SPOT", "MARGIN") else maker,
            "makerUSDC": "",
            "ruleType": "normal",
            "settle": "",
            "taker": taker,
            "takerU": "" if kind in ("SPOT", "MARGIN") else taker,
            "takerUSDC": "",
            "ts": str(request.now_ms),
        }
    ]


def _leverage(request: RestRequest) -> JsonRows:
    mode = request.choice("mgnMode", "cross", "isolated")
    names, currencies = request.listed("instId"), request.listed("ccy")
    if not names and not currencies:
        raise Refused("50015", "instId", "ccy", status=400)
    rows = [("", request.instrument_row(name)["instId"]) for name in names] or [(name, "") for name in currencies]
    return [{"ccy": ccy, "instId": name, "mgnMode": mode, "posSide": "net", "lever": _LEVERAGE} for ccy, name in rows]


def _position_mode(request: RestRequest) -> JsonRows:
    """Confirm the mode that the account is in: clients set it when they start. A change of it is not built."""
    mode = request.choice("posMode", "net_mode", "long_short_mode")
    if mode != request.exchange.account.position_mode:
        raise Refused("50005", status=410)
    return [{"posMode": mode}]


def _position_risk(request: RestRequest) -> JsonRows:
    account = request.exchange.account
    names = ("ccy", "instId", "instType", "mgnMode", "notionalCcy", "notionalUsd", "pos", "posCcy", "posId", "posSide")
    row = account.account_row(request.market, request.now_ms)
    return [
        {
            "adjEq": "",
            "balData": [{"ccy": each["ccy"], "disEq": each["disEq"], "eq": each["eq"]} for each in row["details"]],
            "posData": [{name: position.get(name, "") for name in names} for position in account.positions],
            "ts": str(request.now_ms),
        }
    ]


def _available(request: RestRequest) -> JsonRows:
    """Return how much of its currencies an instrument could be bought and sold with."""
    request.needed("tdMode")
    names, balances = request.listed("instId"), request.exchange.account.balances
    if not names:
        raise Refused("50014", "instId", status=400)
    found: JsonRows = []
    for row in map(request.instrument_row, names):
        margin = row.get("settleCcy") or ""
        buy, sell = (margin, margin) if margin else (row["quoteCcy"], row["baseCcy"])
        found.append(
            {"instId": row["instId"], "availBuy": balances.get(buy, "0"), "availSell": balances.get(sell, "0")}
        )
    return found


# Orders -------------------------------------------------------------------------------------------------------


def _no_order(request: RestRequest) -> JsonRows:
    request.instrument()
    if not (request.params.get("ordId") or request.params.get("clOrdId")):
        raise Refused("51003")
    raise Refused("51603")


def _pending(request: RestRequest) -> JsonRows:
    """Return the open orders, which nothing but a script opens."""
    kind, name = request.params.get("instType", ""), request.params.get("instId", "")
    if kind not in ("", *KINDS):
        raise Refused("51000", "instType")
    request.number("limit")
    rows = request.exchange.account.orders
    return [row for row in rows if kind in ("", row.get("instType")) and name in ("", row.get("instId"))]


def _no_algo_order(request: RestRequest) -> JsonRows:
    if not (request.params.get("algoId") or request.params.get("algoClOrdId")):
        raise Refused("50015", "algoId", "algoClOrdId", status=400)
    raise Refused("51603")


def _order_rate(request: RestRequest) -> JsonRows:
    """Return the limit of a user without a fill ratio, which is for higher tiers."""
    now = str(request.now_ms)
    return [{"accRateLimit": "1000", "fillRatio": "", "mainFillRatio": "", "nextAccRateLimit": "1000", "ts": now}]


def _nothing(*needed: str) -> Callable[[RestRequest], JsonRows]:
    """Return the endpoint of a list that is empty: nothing of that kind has happened.

    Args:
        needed: Parameters that have to be there.
    """

    def answer(request: RestRequest) -> JsonRows:
        for name in needed:
            if name == "instType":
                request.kind()
            else:
                request.needed(name)
        for name in ("begin", "end", "limit"):
            request.number(name)
        if request.params.get("instType", "") not in ("", *KINDS):
            raise Refused("51000", "instType")
        return []

    return answer


# Funds --------------------------------------------------------------------------------------------------------


def _currencies(request: RestRequest) -> JsonRows:
    wanted = request.listed("ccy")
    fields = ("baseCcy", "quoteCcy", "settleCcy")
    known = {row.get(field, "") for row in request.market.instruments() for field in fields}
    names = sorted((known | set(request.exchange.account.balances)) - {""})
    return [_currency(name) for name in names if not wanted or name in wanted]


def _currency(name: str) -> dict[str, object]:
    """Return the row of a currency: it exists, and nothing of it can be sent here or away."""
    texts = (
        "burningFeeRate",
        "ctAddr",
        "depEstOpenTime",
        "depQuotaFixed",
        "depQuoteDailyLayer2",
        "fee",
        "logoLink",
        "maxFee",
        "maxFeeForCtAddr",
        "maxWd",
        "minDep",
        "minDepArrivalConfirm",
        "minFee",
        "minFeeForCtAddr",
        "minInternal",
        "minWd",
        "minWdUnlockConfirm",
        "usedDepQuotaFixed",
        "wdEstOpenTime",
        "wdQuota",
    )
    own = {"ccy": name, "chain": f"{name}-Sandbox", "name": name, "usedWdQuota": "0", "wdTickSz": "8"}
    flags = {"canDep": False, "canInternal": False, "canWd": False, "mainNet": True, "needTag": False}
    return {**own, **flags, **dict.fromkeys(texts, "")}


def _valuation(request: RestRequest) -> JsonRows:
    row = request.exchange.account.account_row(request.market, request.now_ms)
    details = {"classic": "0", "earn": "0", "funding": "0", "trading": row["totalEq"]}
    if request.params.get("ccy", "") not in ("", "USD", "USDT"):
        raise Refused("51000", "ccy")
    return [{"details": details, "totalBal": row["totalEq"], "ts": str(request.now_ms)}]


#: Each endpoint with how many requests it takes in how many seconds.
PRIVATE: Final[dict[str, Route]] = {
    "account/config": Route(_config, 5),
    "account/balance": Route(_balance, 10),
    "account/positions": Route(_positions, 10),
    "account/positions-history": Route(_nothing(), 10),
    "account/account-position-risk": Route(_position_risk, 10),
    "account/instruments": Route(_instruments, 20),
    "account/trade-fee": Route(_fees, 5),
    "account/leverage-info": Route(_leverage, 20),
    "account/max-avail-size": Route(_available, 20),
    "account/bills": Route(_nothing(), 5, 1.0),
    "account/bills-archive": Route(_nothing(), 5),
    "account/interest-accrued": Route(_nothing(), 5),
    "account/greeks": Route(_nothing(), 10),
    "trade/order": Route(_no_order, 60),
    "trade/orders-pending": Route(_pending, 60),
    "trade/orders-history": Route(_nothing("instType"), 40),
    "trade/orders-history-archive": Route(_nothing("instType"), 20),
    "trade/fills": Route(_nothing(), 60),
    "trade/fills-history": Route(_nothing("instType"), 10),
    "trade/order-algo": Route(_no_algo_order, 20),
    "trade/orders-algo-pending": Route(_nothing("ordType"), 20),
    "trade/orders-algo-history": Route(_nothing("ordType"), 20),
    "trade/account-rate-limit": Route(_order_rate, 1, 1.0),
    "asset/currencies": Route(_currencies, 6, 1.0),
    "asset/balances": Route(_nothing(), 6, 1.0),
    "asset/non-tradable-assets": Route(_nothing(), 6, 1.0),
    "asset/asset-valuation": Route(_valuation, 1),
    "asset/bills": Route(_nothing(), 6, 1.0),
    "asset/deposit-history": Route(_nothing(), 6, 1.0),
    "asset/withdrawal-history": Route(_nothing(), 6, 1.0),
}
#: Those that take a POST.
POSTED: Final[dict[str, Route]] = {
    "account/set-position-mode": Route(_position_mode, 5),
    "trade/order-precheck": Route(precheck, 5),
}
