"""No key, secret or passphrase in any log, text, error, trace, tape or copy, whatever they are and OKX says."""

import asyncio
import copy
import io
import json
import logging
import pickle
import sys
import traceback
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "feeds"))
from okx_server import ScriptedOkx, answer

import quantkit
from quantkit.errors import QuantkitError
from quantkit.feeds.okx.codec.channels import account, orders, tickers
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials, Secret
from quantkit.feeds.okx.tracker.records import pack, pack_frame
from quantkit.feeds.okx.ws.client import OkxClient

#: Long enough not to occur by chance, with what JSON escapes among the characters.
SECRETS = st.text(st.sampled_from("abcXYZ019\"\\'{}:,=-_/+ <&"), min_size=10, max_size=24).map(lambda text: f"~{text}~")
KEYS = st.tuples(SECRETS, SECRETS, SECRETS).filter(lambda three: len(set(three)) == 3)

PACKAGE = Path(quantkit.__file__).parent


def spellings(secret):
    """Return a secret as it may stand in a text: plain, or escaped by JSON once or twice, or by repr."""
    once = json.dumps(secret)[1:-1]
    return {secret, once, json.dumps(once)[1:-1], repr(secret)[1:-1]}


def assert_absent(output, keys):
    text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
    for secret in keys:
        for spelling in spellings(secret):
            assert spelling not in text


def texts_of(error):
    """Return everything that a report of an error may print, local variables of the package's frames included."""
    said = []
    while error is not None:
        said += [repr(error), *traceback.format_exception(error)]
        said += [f"{name}={value!r}" for name, value in vars(error).items()]
        # The test's own frames hold the keys, so their variables are left out.
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        inner = [frame for frame in frames if PACKAGE in Path(frame.f_code.co_filename).parents]
        said += [f"{name}={value!r}" for frame in inner for name, value in frame.f_locals.items()]
        error = error.__cause__ or error.__context__
    return "\n".join(said)


class Tape:
    """Keeps what is written to a tape, as bytes."""

    def __init__(self):
        self.data = bytearray()

    def frame(self, connection, received_ns, data):
        self.data += pack_frame(connection, received_ns, data)

    def record(self, event):
        self.data += pack(event)


@given(KEYS)
def test_values_show_themselves_to_nobody(keys):
    credentials = Credentials(*keys)
    secret = Secret(keys[1])
    client = OkxClient(OkxConfig(url="ws://127.0.0.1:9"), credentials=credentials)
    for value in (secret, credentials, client, [credentials], {"a": secret}):
        for text in (repr(value), str(value), f"{value}", "{}".format(value), "%s %r" % (value, value)):  # noqa: UP031, UP032
            assert_absent(text, keys)
    assert_absent(f"{secret:>40}", keys)
    for value in (secret, credentials):
        assert not hasattr(value, "__dict__")
        for refused in (
            pickle.dumps,
            copy.copy,
            copy.deepcopy,
            msgspec.json.encode,
            msgspec.msgpack.encode,
            json.dumps,
        ):
            with pytest.raises(TypeError) as caught:
                refused(value)
            assert_absent(str(caught.value), keys)
        with pytest.raises(TypeError):
            msgspec.to_builtins(value)
    assert msgspec.json.encode({"a": secret}, enc_hook=str) == b'{"a":"***"}'


@given(KEYS, st.sampled_from(["60005", "60024", "60032", "50101", "60012"]))
@settings(max_examples=12, deadline=None)
def test_a_session_with_a_server_that_quotes_everything_shows_nothing(keys, code):
    log = io.StringIO()
    handler = logging.StreamHandler(log)
    loggers = [logging.getLogger(name) for name in (None, "quantkit", "asyncio")]
    before = [logger.level for logger in loggers]
    # The server runs in the same process and would log what it receives.
    quiet = logging.getLogger("websockets.server")
    quiet_level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    loggers[0].addHandler(handler)
    said, tape = [], Tape()

    async def quote(visit, request):
        if request["op"] == "login" and visit.number == 0:
            await visit.error("63999", f"Invalid request: {visit.texts[-1]}")
            return True
        if request["op"] == "login" and visit.number == 1:
            await visit.error(code, f"Invalid request: {visit.texts[-1]} {keys[1]}")
            return True
        if request["op"] == "subscribe" and visit.path == "private":
            login = visit.texts[0]
            await visit.error("60012", f"Invalid request: {login} {keys[1]}")
            await visit.error("60018", f"orders: {json.dumps(login)} {keys[1]}", request)
            await answer(visit, {**request, "args": [arg for arg in request["args"] if arg["channel"] != "orders"]})
            return True
        return False

    async def work():
        async with ScriptedOkx() as server:
            server.on_request = quote
            states = []
            async with OkxClient(
                server.config(),
                credentials=Credentials(*keys),
                tape=tape,
                on_state=lambda status: states.append(status),
            ) as okx:
                for channels in ((account(),), (account(), orders()), (tickers("BTC-USDT"),)):
                    try:
                        await okx.subscribe(*channels)
                    except QuantkitError as error:
                        said.append(texts_of(error))
                await server.visits[-1].socket.close(4001, f"{keys[0]} is wrong"[:100])
                await server.until(lambda: okx.connections[-1].state in ("failed", "live"))
                said.extend(repr(status) for status in states + list(okx.connections))
                said.append(repr(okx.refused) + repr(okx.counters) + repr(okx.config) + repr(okx))
                said.append(msgspec.json.encode(okx.connections).decode() + msgspec.json.encode(okx.config).decode())
                said.extend(repr(task) for task in asyncio.all_tasks() if "OKX" in task.get_name())
            sent = [text for visit in server.visits for text in visit.texts]
            assert any(json.dumps(keys[0])[1:-1] in text for text in sent)  # the server did get what it quotes

    try:
        asyncio.run(asyncio.wait_for(work(), 30))
    finally:
        loggers[0].removeHandler(handler)
        quiet.setLevel(quiet_level)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
    assert len(said) > 5
    assert "refused" in log.getvalue() or "OKX" in log.getvalue()
    for output in (*said, log.getvalue(), bytes(tape.data)):
        assert_absent(output, keys)


@given(KEYS)
@settings(max_examples=20, deadline=None)
def test_no_strange_host_gets_a_client_with_keys(keys):
    for url in ("ws://ws.okx.com:8443", "wss://okx.com.example", "http://10.1.2.3"):
        with pytest.raises(QuantkitError) as caught:
            OkxClient(OkxConfig(url=url), credentials=Credentials(*keys))
        assert_absent(str(caught.value), keys)
