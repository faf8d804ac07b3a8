from __future__ import annotations

import re
import socket

import pytest

from metfa.runtime.errors import OutputError
from metfa.runtime.web import Access, Address
from metfa.runtime.web.access import WrongTokenError
from metfa.runtime.web.http import RefusalError, Request

TOKEN = "correct-horse_battery"


def ask(path: str = "/", *, query: dict[str, str] | None = None, **headers: str) -> Request:
    return Request(path, query or {}, headers)


def access_to(host: str = "127.0.0.1", token: str | None = None) -> Access:
    with Address(host, 0).listen() as listening:
        return Access(listening, token)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("0.0.0.0:0", Address("0.0.0.0", 0)),
        ("localhost:65535", Address("localhost", 65535)),
        ("scanner-3.clinic.example:80", Address("scanner-3.clinic.example", 80)),
        ("[::1]:8080", Address("::1", 8080)),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:http", "::1:8080",
     "[::1]", "[nowhere]:80", "http://127.0.0.1:80", "user@host:80", "a b:80", "127.0.0.1:8080/"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("address", "received"),
    [
        (Address("192.0.2.1", 0), "assign requested address"),
        (Address("nowhere.invalid", 0), "[Nn]ame|[Nn]o address|resolution"),
        (Address("x" * 70, 0), "too long|[Nn]ame|encoding"),
    ],
)
def test_addresses_of_other_machines(address: Address, received: str) -> None:
    with pytest.raises(OutputError, match=received):
        address.listen()


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(OutputError, match=rf"a page on {address}, received Address already in use; "):
            address.listen()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9000", "127.0.0.1:8080", "127.0.0.1", "[::1]:80", "[::1]"])
def test_this_machine_needs_no_token(host: str) -> None:
    access = access_to()
    assert access.token is None
    access.check(ask(host=host))


@pytest.mark.parametrize(
    "host", ["attacker.example", "localhost.attacker.example:8080", "127.0.0.1.attacker.example", "", "a:b:c", "[::1"]
)
def test_a_foreign_name_that_leads_here_is_refused(host: str) -> None:
    with pytest.raises(RefusalError) as refusal:
        access_to().check(ask(host=host))
    assert refusal.value.status == 421


def test_other_machines_need_a_token_that_nobody_can_guess() -> None:
    one, two = access_to("0.0.0.0"), access_to("0.0.0.0")
    assert one.token
    assert two.token
    assert len(one.token) >= 20
    assert one.token != two.token
    assert one.url.endswith(f"/?token={one.token}")
    assert socket.gethostname() in one.url


def test_the_token_may_be_chosen_and_then_counts_here_too() -> None:
    access = access_to(token=TOKEN)
    with pytest.raises(RefusalError):
        access.check(ask(host="localhost"))
    access.check(ask(host="by-any-name.example", query={"token": TOKEN}))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "short",
        "fifteen-letters",
        "with space in it",
        "with;semicolon;;;",
        "with;semicolon",
        "ümlaut-token",
        "x" * 129,
    ],
)
def test_tokens_that_are_refused(token: str) -> None:
    with pytest.raises(OutputError, match="a token of 16 to 128") as error:
        access_to(token=token)
    assert token == "" or token not in str(error.value)


def with_cookie(access: Access, value: str = TOKEN) -> str:
    return access.cookie().partition(";")[0].replace(TOKEN, value)


@pytest.mark.parametrize("offer", ["query", "bearer", "cookie", "cookie among others"])
def test_a_token_can_be_shown_in_three_ways(offer: str) -> None:
    access = access_to("0.0.0.0", TOKEN)
    cookie = with_cookie(access)
    access.check(
        {
            "query": ask("/metrics", query={"token": TOKEN}),
            "bearer": ask("/metrics", authorization=f"bearer {TOKEN}"),
            "cookie": ask("/events", cookie=cookie),
            "cookie among others": ask("/events", cookie=f'a="b"; {cookie}; x=y'),
        }[offer]
    )


@pytest.mark.parametrize(
    "request_",
    [
        ask(),
        ask(query={"token": ""}),
        ask(query={"token": TOKEN[:-1]}),
        ask(query={"token": TOKEN + "x"}),
        ask(query={"token": TOKEN.upper()}),
        ask(query={"token": "törichter Versuch"}),
        ask(query={"Token": TOKEN}),
        ask(authorization=TOKEN),
        ask(authorization=f"Basic {TOKEN}"),
        ask(authorization="Bearer"),
        ask(cookie=f"metfa-0={TOKEN}"),
        ask(query={"token": "guessed"}, authorization=f"Bearer {TOKEN}"),
        ask(cookie=f"xmetfa={TOKEN}"),
        ask(cookie=";;=;" * 9),
        ask(cookie="caf\xe9=\xff"),
    ],
)
def test_without_the_token_there_is_nothing(request_: Request) -> None:
    with pytest.raises(RefusalError) as refusal:
        access_to("0.0.0.0", TOKEN).check(request_)
    assert refusal.value.status == 401


def test_a_request_is_one_guess() -> None:
    access = access_to("0.0.0.0", TOKEN)
    cookies = "; ".join([with_cookie(access, f"guess-{number}") for number in range(300)] + [with_cookie(access)])
    for request in (ask(cookie=cookies), ask(query={"token": "guess"}, cookie=with_cookie(access))):
        with pytest.raises(WrongTokenError):
            access.check(request)


def test_a_token_of_the_users_own_is_not_in_the_address_that_is_printed() -> None:
    assert TOKEN not in access_to("0.0.0.0", TOKEN).url


def test_the_cookie_is_of_this_port_and_no_script_reads_it() -> None:
    access = access_to("0.0.0.0", TOKEN)
    port = access.url.partition("?")[0].rstrip("/").rpartition(":")[2]
    assert access.cookie() == f"metfa-{port}={TOKEN}; Path=/; HttpOnly; SameSite=Lax"
    with pytest.raises(RefusalError):
        access.check(ask(cookie=with_cookie(access, "guessed-token")))
