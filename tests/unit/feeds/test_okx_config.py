"""Hosts, limits and durations of the live client."""

import math

import pytest

from quantkit.errors import ConfigError
from quantkit.feeds.okx.config import OkxConfig, RetryPolicy


@pytest.mark.parametrize(
    ("config", "ws", "rest"),
    [
        (OkxConfig(), "wss://ws.okx.com:8443/ws/v5/public", "https://openapi.okx.com"),
        (OkxConfig(demo=True), "wss://wspap.okx.com:8443/ws/v5/public", "https://openapi.okx.com"),
        (OkxConfig(region="eea"), "wss://wseea.okx.com:8443/ws/v5/public", "https://eea.okx.com"),
        (OkxConfig().in_region("eea").as_demo(), "wss://wseeapap.okx.com:8443/ws/v5/public", "https://eea.okx.com"),
        (OkxConfig(region="us"), "wss://wsus.okx.com:8443/ws/v5/public", "https://us.okx.com"),
        (OkxConfig(region="us", demo=True), "wss://wsuspap.okx.com:8443/ws/v5/public", "https://us.okx.com"),
        (OkxConfig(url="ws://127.0.0.1:8765"), "ws://127.0.0.1:8765/ws/v5/public", "http://127.0.0.1:8765"),
        (OkxConfig().at("http://[::1]:80/"), "ws://[::1]:80/ws/v5/public", "http://[::1]:80"),
        (OkxConfig(url="https://a.example/x"), "wss://a.example/x/ws/v5/public", "https://a.example/x"),
        (OkxConfig(url="wss://a.example:1/ws/v5/private"), "wss://a.example:1/ws/v5/public", "https://a.example:1"),
        (OkxConfig(url="wss://a.example/ws/v5"), "wss://a.example/ws/v5/public", "https://a.example"),
    ],
)
def test_every_address_derives_from_one_base(config, ws, rest):
    assert config.ws_url("public") == ws
    assert config.ws_url("business") == ws.replace("public", "business")
    assert config.ws_url("private") == ws.replace("public", "private")
    assert config.rest_url == rest


@pytest.mark.parametrize(
    "url",
    [
        "ws://127.0.0.1:8765",
        "ws://127.9.9.9",
        "http://localhost:1",
        "ws://[::1]:80",
        None,
    ],
)
def test_keys_go_to_okx_over_tls_and_to_this_machine(url):
    OkxConfig(url=url).check_keys_allowed()
    assert OkxConfig(url=url).is_okx is (url is None)


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("wss://ws.okx.com:8443", 'region="global" (--region global)'),
        ("wss://ws.okx.com:8443/ws/v5/public", 'region="global" (--region global)'),
        ("wss://WS.okx.com.:8443", 'region="global" (--region global)'),
        ("wss://wspap.okx.com:8443", 'region="global", demo=True'),
        ("wss://wseea.okx.com:8443", 'region="eea" (--region eea)'),
        ("wss://wsuspap.okx.com:8443", 'region="us", demo=True'),
        ("https://openapi.okx.com", 'region="global" (--region global)'),
        ("https://www.okx.com", 'region="global" (--region global)'),
        ("https://eea.okx.com", 'region="eea" (--region eea)'),
        ("ws://ws.okx.com:8443", 'region="global" (--region global)'),
        ("https://okx.com", "one of the regions global, eea, us"),
        ("https://tr.okx.com", "one of the regions global, eea, us"),
    ],
)
def test_hosts_of_okx_are_named_by_their_region(url, advice):
    # One base cannot name them: there is no REST where the WebSockets are.
    with pytest.raises(ConfigError, match="leave url out") as caught:
        OkxConfig(url=url)
    assert advice in str(caught.value)
    with pytest.raises(ConfigError, match="leave url out"):
        OkxConfig().at(url)


@pytest.mark.parametrize(
    "url",
    [
        "wss://ws.okx.com.evil.example",
        "wss://evilokx.com",
        "wss://10.0.0.1",
        "wss://localhost.evil.example",
        "ws://0.0.0.0:1",
        "wss://127.0.0.1.evil.example",
    ],
)
def test_keys_go_nowhere_else(url):
    with pytest.raises(ConfigError, match="never sent"):
        OkxConfig(url=url).check_keys_allowed()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8765",
        "ftp://a.example",
        "ws://",
        "ws://a.example:0",
        "ws://a.example:99999",
        "ws://a.example/?brokerId=9999",
        "ws://a.example/#x",
        "ws://a b.example",
        "ws://a.example/\n",
        "ws://[::1",
    ],
)
def test_a_malformed_address_is_refused_with_an_example(url):
    with pytest.raises(ConfigError, match=r"write for example ws://127\.0\.0\.1:8765"):
        OkxConfig(url=url)


def test_a_password_in_the_address_is_refused_and_not_shown():
    with pytest.raises(ConfigError) as caught:
        OkxConfig(url="wss://user:hunter2@ws.okx.com")
    assert "hunter2" not in str(caught.value)


def test_an_unknown_path_is_refused():
    with pytest.raises(ConfigError, match="public, business, private"):
        OkxConfig().ws_url("privat")


@pytest.mark.parametrize(
    "changes",
    [
        {"region": "mars"},
        {"ping_after_s": 30.0},
        {"dead_after_s": 31.0},
        {"dead_after_s": 0.0},
        {"ack_timeout_s": -1.0},
        {"frame_timeout_s": math.nan},
        {"frame_timeout_s": math.inf},
        {"watch_every_s": True},
        {"stall_after_s": "90"},
        {"connects_per_s": 0},
        {"operations_per_h": 1.5},
        {"queue_events": -1},
        {"request_bytes": 100},
        {"request_bytes": 65_537},
        {"handshake_timeout_s": 1e9},
    ],
)
def test_values_without_sense_are_refused(changes):
    name = next(iter(changes))
    with pytest.raises(ConfigError, match=name):
        OkxConfig(**changes)
    with pytest.raises(ConfigError, match=name):
        OkxConfig().with_(**changes)


def test_an_unknown_name_is_refused_by_name():
    with pytest.raises(ConfigError, match="time_scale"):
        OkxConfig().with_(time_scale=2)


def test_changes_are_copies():
    first = OkxConfig()
    second = first.with_(queue_events=7)
    assert (first.queue_events, second.queue_events) == (100_000, 7)


@pytest.mark.parametrize(
    "changes",
    [{"base_s": 0}, {"cap_s": math.nan}, {"factor": 0.5}, {"factor": math.nan}, {"give_up_after": 0}],
)
def test_a_retry_policy_without_sense_is_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        RetryPolicy(**changes)


def test_the_wait_grows_to_its_cap_and_stays_finite():
    policy = RetryPolicy(base_s=1.0, cap_s=50.0, factor=100.0)
    assert [policy.bound_s(failures) for failures in (0, 1, 2, 10**9)] == [1.0, 1.0, 50.0, 50.0]
