from __future__ import annotations

import contextvars
import json

import pytest

from banger.errors import UsageError
from banger.host import caller
from banger.host.command import make_environment


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*caller.PROXIES, *caller.CERTIFICATES):
        monkeypatch.delenv(name, raising=False)


def test_what_the_caller_sent_counts_and_not_what_the_daemon_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://old:1")
    assert caller.find_caller() == {"HTTPS_PROXY": "http://old:1"}

    def call() -> dict[str, str]:
        caller.take_sent(json.dumps({"http_proxy": "http://new:2", "SSL_CERT_FILE": "/ca.pem"}))
        return make_environment({"A": "1"})

    environment = contextvars.copy_context().run(call)
    assert environment["http_proxy"] == "http://new:2"
    assert environment["SSL_CERT_FILE"] == "/ca.pem"
    assert environment["A"] == "1"
    assert "HTTPS_PROXY" not in environment
    assert make_environment()["HTTPS_PROXY"] == "http://old:1"


def test_a_caller_without_any_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://old:1")

    def call() -> dict[str, str]:
        caller.take_sent("{}")
        return caller.find_proxies()

    assert contextvars.copy_context().run(call) == {}


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", '"x"', '{"LD_PRELOAD": "/x"}', '{"http_proxy": 1}'),
        json.dumps({"http_proxy": "a\0b"}),
        json.dumps({"http_proxy": "x" * 5000}),
    ],
)
def test_nothing_else_gets_in(text: str) -> None:
    with pytest.raises(UsageError, match="proxies make no sense"):
        contextvars.copy_context().run(caller.take_sent, text)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://registry.example/v2/", "http://proxy:3128"),
        ("http://registry.example/v2/", "http://plain:1"),
        ("https://in.corp.example/", None),
        ("https://corp.example:5000/", None),
        ("https://notcorp.example/", "http://proxy:3128"),
        ("https://10.1.2.3/", None),
        ("https://11.1.2.3/", "http://proxy:3128"),
        ("https://ported.example:8443/", None),
        ("https://ported.example/", "http://proxy:3128"),
    ],
)
def test_the_proxy_of_a_url(monkeypatch: pytest.MonkeyPatch, url: str, proxy: str | None) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://other:1")
    monkeypatch.setenv("https_proxy", "proxy:3128")
    monkeypatch.setenv("all_proxy", "http://plain:1")
    monkeypatch.setenv("no_proxy", "localhost, .corp.example,10.0.0.0/8,ported.example:8443,nonsense/x")
    assert caller.find_proxy(url) == proxy


def test_no_proxy_for_everything_and_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert caller.find_proxy("https://a.example/") is None
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "*")
    assert caller.find_proxy("https://a.example/") is None


def test_authorities_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    assert caller.find_authorities() == (None, None)
    monkeypatch.setenv("CURL_CA_BUNDLE", "/c.pem")
    monkeypatch.setenv("SSL_CERT_DIR", "/certs")
    assert caller.find_authorities() == ("/c.pem", "/certs")


def test_logins_live_as_long_as_the_operation_and_show_no_secret() -> None:
    def call() -> None:
        caller.take_logins(json.dumps({"r.example/a": ["user", "word"]}))
        login = caller.find_login("r.example/a")
        assert login == caller.Login("user", "word")
        assert "word" not in repr(login)
        assert caller.find_login("r.example/b") is None

    contextvars.copy_context().run(call)
    assert caller.find_login("r.example/a") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '{"a": 1}',
        '{"a": ["x"]}',
        '{"a": ["x", "y\\n"]}',
        '{"a": ["x", "' + "y" * 40000 + '"]}',
    ],
)
def test_logins_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="logins"):
        caller.take_logins(text)
