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
