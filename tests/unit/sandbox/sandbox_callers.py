"""Callers of the sandbox's REST endpoints, signed or not, without sockets."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from sandbox_stage import play

from quantkit.clock import iso_of
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.keys import sign
from quantkit.sandbox.rest import HttpReply, RestApi
from quantkit.sandbox.rules import Rules


class Caller:
    """Asks the endpoints of an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.api = RestApi(exchange)

    def reply(self, endpoint: str, headers: dict[str, str] | None = None, **params: object) -> HttpReply:
        """Return the reply to a GET."""
        now_s = asyncio.get_running_loop().time()
        path, query = f"/api/v5/{endpoint}", urlencode(params)
        return self.api.answer("GET", path, query, headers or {}, address="me", now_s=now_s)

    def post(
        self, endpoint: str, body: bytes, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> HttpReply:
        """Return the reply to a POST."""
        now_s = asyncio.get_running_loop().time()
        return self.api.answer(method, f"/api/v5/{endpoint}", "", headers or {}, body, address="me", now_s=now_s)

    def signed(self, method: str, target: str, body: str = "", key: str = "sandbox-key") -> dict[str, str]:
        """Return the headers of a request that one of the sandbox's keys signed."""
        stamp = iso_of(self.exchange.now_ms() * 10**6)
        return {
            "ok-access-key": key,
            "ok-access-timestamp": stamp,
            "ok-access-passphrase": "sandbox-pass",
            "ok-access-sign": sign("sandbox-secret", f"{stamp}{method}/api/v5/{target}{body}"),
        }

    def data(self, endpoint: str, **params: object) -> list[Any]:
        """Return the rows of a reply that succeeded; a user's are asked for signed."""
        status, body = self.asked(endpoint, **params)
        assert (status, body["code"]) == (200, "0"), body
        data: list[Any] = body["data"]
        return data

    def asked(self, endpoint: str, **params: object) -> tuple[int, dict[str, Any]]:
        """Return status and body of a GET, signed where it is a user's."""
        is_private = endpoint.startswith(("account/", "trade/", "asset/"))
        target = endpoint + ("?" if params else "") + urlencode(params)
        reply = self.reply(endpoint, self.signed("GET", target) if is_private else None, **params)
        return reply.status, json.loads(reply.body)

    def code(self, endpoint: str, headers: dict[str, str] | None = None, **params: object) -> tuple[int, str]:
        """Return status and code of a GET as it is."""
        reply = self.reply(endpoint, headers, **params)
        return reply.status, json.loads(reply.body)["code"]


def ask(check: Callable[[Caller], None], **options: Any) -> None:
    """Check the endpoints of a market that has been open for a second."""

    async def scenario(exchange: Exchange) -> None:
        await asyncio.sleep(1)
        check(Caller(exchange))

    play(scenario, options.pop("market", None), rules=options.pop("rules", Rules(limits_rest=False)), **options)
