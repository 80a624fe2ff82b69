"""Who should not get in, takes too long, or comes in crowds: refused or served, and never a traceback."""

from __future__ import annotations

import asyncio
import datetime
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from uvicorn.server import ServerState

from tests.conftest import Mongod, eventually, fill
from tests.serving import Site, serving
from waiter import open_kitchen
from waiter.errors import KitchenUnreachable
from waiter.report.run_view import WHOLE, Aspect
from waiter.web import connections
from waiter.web.gate import Secret
from waiter.web.server import Serving, application
from waiter.web.viewing import EVERY_S, KitchenThread, Viewing

TOKEN = "a-token-of-the-tests"
LOOKS = 5


@pytest.fixture
def site(tmp_path, home) -> Iterator[Site]:
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["a"]])
    with serving(str(tmp_path / "orders.sqlite"), home) as served:
        yield served


def connect(site: Site) -> socket.socket:
    host, _, port = site.address.rpartition(":")
    return socket.create_connection((host, int(port)), 60)


def answer(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_two_hundred_connections_and_slow_clients_keep_nobody_out(site):
    events = f"GET /events/run HTTP/1.1\r\nHost: {site.address}\r\nAuthorization: Bearer {site.token}\r\n\r\n".encode()
    with ExitStack() as held:
        for number in range(200):
            client = held.enter_context(connect(site))
            # Nothing, half a request, and the events without ever reading them.
            client.sendall((b"", b"GET / HTTP/1.1\r\nHost: ", events)[number % 3])
        slow = held.enter_context(connect(site))
        asked = f"GET /orders HTTP/1.1\r\nHost: {site.address}\r\nAuthorization: Bearer {site.token}\r\n\r\n".encode()
        for start in range(0, len(asked), 40):
            slow.sendall(asked[start : start + 40])
        assert site.ask("/orders")[0] == 200
        assert slow.recv(65536).startswith(b"HTTP/1.1 200")
        half = connect(site)
        half.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert answer(half) == b""  # it holds a place for some seconds only
    assert site.ask("/orders")[0] == 200


def test_who_sends_no_whole_request_holds_no_place(monkeypatch):
    """Five hundred such clients would keep everybody out, and none of them has to know the token."""
    monkeypatch.setattr(connections, "PATIENCE_S", 0.3)

    async def hello(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await asyncio.sleep(1)  # an answer may take longer than its request
        await send({"type": "http.response.body", "body": b"hi"})

    async def what_comes(sent: bytes) -> bytes:
        config, state = uvicorn.Config(hello, lifespan="off"), ServerState()
        config.load()
        served = await asyncio.get_running_loop().create_server(
            lambda: connections.BoundedProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        async with served:
            reader, writer = await asyncio.open_connection(*served.sockets[0].getsockname())
            writer.write(sent)
            came = await asyncio.wait_for(reader.read(), 60)
            writer.close()
        return came

    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    nothing, half, next_half = (asyncio.run(what_comes(sent)) for sent in (b"", whole[:-2], whole + whole[:-2]))

    assert (nothing, half) == (b"", b"")
    assert (next_half[:15], next_half[-2:]) == (b"HTTP/1.1 200 OK", b"hi")


def test_what_is_no_request_is_refused(site):
    close = b"\r\nConnection: close\r\n\r\n"
    for sent, status in {
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03": b"400",  # TLS, where there is none
        b"GARBAGE\r\n\r\n": b"400",
        b"GET / HTTP/1.1" + close: b"400",  # no Host
        b"GET / HTTP/1.1\r\nHost: [" + close: b"421",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nCookie: waiter_1=\xff\xfe; \x01=" + close: b"401",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \xff" + close: b"401",
        b"GET /%ff%00?token=%ff HTTP/1.1\r\nHost: localhost" + close: b"401",
        b"POST /do/pause HTTP/1.1\r\nHost: localhost\r\nOrigin: null" + close: b"403",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost" + close: b"401",
    }.items():
        connection = connect(site)
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        said = answer(connection)
        assert said[9:12] == status, (sent, said)
    inside = {"Authorization": f"Bearer {site.token}"}
    odd = {
        "/%ff": 404,
        "/orders/%00": 404,
        "/orders?match=%ff%00": 200,
        "/orders?status=%F0%9F%92%A9": 400,
        "/static/%2e%2e%2f%2e%2e%2fetc/passwd": 404,
        "/orders?after=1e999~b-1": 400,
        "/api/../metrics": 404,
        "//evil.example/": 404,
        "/orders?limit=9" + "9" * 5000: 400,
    }
    assert {path: site.ask(path, **inside)[0] for path in odd} == odd
    put = {method: site.ask("/do/pause", method=method, **inside)[0] for method in ("PUT", "DELETE", "GET")}
    assert put == dict.fromkeys(put, 405)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "waiter")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = made.add_extension(here, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(signed.public_bytes(pem))
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


def test_over_tls_the_cookie_never_travels_in_the_clear(tmp_path, home):
    cert, key = certificate(tmp_path)
    with open_kitchen(str(tmp_path / "orders.sqlite")) as kitchen:
        fill(kitchen, [["a"]])
    with serving(str(tmp_path / "orders.sqlite"), home, "--certfile", str(cert), "--keyfile", str(key)) as site:
        trusted = http.client.HTTPSConnection(site.address, timeout=60, context=ssl.create_default_context(cafile=cert))
        trusted.request("GET", f"/?token={site.token}")
        let_in = trusted.getresponse()
        let_in.read()
        trusted.request("GET", "/orders", headers={"Cookie": let_in.headers["Set-Cookie"].partition(";")[0]})
        assert trusted.getresponse().status == 200
        assert re.search("; secure", let_in.headers["Set-Cookie"], re.IGNORECASE)
        plain = connect(site)
        plain.sendall(f"GET / HTTP/1.1\r\nHost: {site.address}\r\n\r\n".encode())
        assert b"200" not in answer(plain)


def test_a_certificate_that_is_none_is_refused_before_the_address_is_told(tmp_path, waiter_cli):
    cert, key = certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_key = certificate(tmp_path / "other")
    waiter_cli("-k", "orders.sqlite", "load", "-", input="a\n")

    refused = [
        waiter_cli("-k", "orders.sqlite", "serve", "--listen", "127.0.0.1:0", *map(str, files))
        for files in (("--certfile", key), ("--certfile", cert, "--keyfile", other_key))
    ]

    for one in refused:
        assert (one.returncode, one.stdout) == (1, "")
        assert "no TLS with this" in one.stderr
        assert "hint: --certfile is a certificate in PEM" in one.stderr


@pytest.mark.long
def test_a_mongodb_kitchen_that_goes_away_is_missed_and_comes_back_by_itself(server: Mongod, home):
    where = f"{server.url}/kitchen?serverSelectionTimeoutMS=1000"
    with open_kitchen(where) as kitchen:
        fill(kitchen, [["a"]])

    with serving(where, home) as site:
        looks = site.looks()
        assert any("READY</a> <b>1</b>" in part for part in looks), "the order is not shown"
        assert "\nwaiter_kitchen_up 1.0" in site.ask("/metrics")[2]
        server.kill()
        assert any('role="alert"' in part for part in looks), "nothing is said of the kitchen"
        answers = {path: site.ask(path) for path in ("/orders", "/failures", "/api/status", "/metrics", "/")}
        server.start()
        assert any('role="alert"' not in part for part in looks), "it did not come back"
        assert eventually(lambda: all(site.ask(path)[0] == 200 for path in answers))
        assert eventually(lambda: "\nwaiter_kitchen_up 1.0" in site.ask("/metrics")[2])

    assert {path: status for path, (status, _, _) in answers.items()} == {
        "/orders": 503, "/failures": 503, "/api/status": 503, "/metrics": 200, "/": 200
    }  # fmt: skip
    assert "\nwaiter_kitchen_up 0.0" in answers["/metrics"][2]


def test_of_many_who_ask_a_kitchen_that_is_away_none_waits_for_all_the_others():
    asked: list[int] = []
    all_wait = threading.Event()

    def in_vain(number: int) -> Callable[[object], None]:
        def ask(_kitchen: object) -> None:
            assert all_wait.wait(60)
            asked.append(number)
            raise KitchenUnreachable("nobody answers")

        return ask

    async def all_of_them() -> list[object]:
        questions = [asyncio.create_task(thread.ask(in_vain(number))) for number in range(10)]
        await asyncio.sleep(0)
        all_wait.set()
        told = await asyncio.gather(*questions, return_exceptions=True)
        return [*told, await thread.ask(lambda _kitchen: "it is back")]

    thread = KitchenThread(lambda: SimpleNamespace(close=lambda: None), "pages")
    *told, later = asyncio.run(all_of_them())

    assert asked == [0, 1]
    assert {(type(error), str(error)) for error in told} == {(KitchenUnreachable, "nobody answers")}
    assert later == "it is back"


def test_it_ends_in_a_line_although_the_kitchen_answers_nobody(server: Mongod, home):
    where = f"{server.url}/kitchen?timeoutMS=8000"
    with open_kitchen(where) as kitchen:
        fill(kitchen, [["a"]])

    with serving(where, home) as site:
        assert site.ask("/orders")[0] == 200
        server.freeze()
        waiting = connect(site)
        waiting.sendall(
            f"GET /orders HTTP/1.1\r\nHost: {site.address}\r\nAuthorization: Bearer {site.token}\r\n\r\n".encode()
        )
        assert site.ask("/static/page.js")[0] == 200  # the server has the other request, too


class Counted:
    """A kitchen that counts what it is asked."""

    def __init__(self, kitchen: object, calls: Counter[str]) -> None:
        self._kitchen, self._calls = kitchen, calls

    def __getattr__(self, name: str) -> object:
        value = getattr(self._kitchen, name)
        if not callable(value):
            return value

        def call(*arguments: object, **named: object) -> object:
            self._calls[name] += 1
            return value(*arguments, **named)

        return call


HEADERS = [(b"host", b"127.0.0.1:1"), (b"authorization", f"Bearer {TOKEN}".encode())]


def served(open_kitchen: Callable[[], object]) -> tuple[Viewing, Starlette]:
    viewing = Viewing(open_kitchen)
    return viewing, application(Serving("127.0.0.1", 1, Secret(TOKEN)), 1, "kitchen", open_kitchen, viewing)


async def ask(app: Starlette, path: str, hear: Callable[[bytes], None] = lambda _: None) -> None:
    """Ask the server, in this process; what it sends is heard."""

    async def send(message: dict) -> None:
        hear(message.get("body", b""))

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": HEADERS}
    await app({**scope, "http_version": "1.1", "scheme": "http", "root_path": ""}, asyncio.Event().wait, send)


async def cost(open_counted: Callable[[], Counted], calls: Counter[str], viewers: int) -> tuple[float, float, int]:
    """What the kitchen is asked while so many look: in a look at all, in seconds between looks, in as many scrapes."""
    viewing, app = served(open_counted)
    told: Counter[int] = Counter()

    def hear(number: int) -> Callable[[bytes], None]:
        return lambda body: told.update({number: b"event: " in body})

    async with app.router.lifespan_context(app):
        watching = [asyncio.create_task(ask(app, "/events/run", hear(number))) for number in range(viewers)]
        await viewing.next_look(0, 60)
        before = calls.total()
        for _ in range(LOOKS):  # at everything
            await viewing.show_change(60)
        asked = (calls.total() - before) / LOOKS
        await asyncio.gather(*(ask(app, page, hear(-1)) for page in ("/", "/waiters") for _ in range(viewers)))
        number, began = viewing.number, time.monotonic()
        while viewing.number < number + 3:
            await viewing.next_look(viewing.number, 60)
        every_s = (time.monotonic() - began) / (viewing.number - number)
        calls.clear()
        await asyncio.gather(*(ask(app, "/metrics") for _ in range(viewers)))
        scraped = calls["durations"]
        viewing.is_ending = True
        await asyncio.wait(watching, timeout=60)
    assert all(told[number] for number in range(viewers)), "somebody was told nothing"
    return asked, every_s, scraped


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_fifty_viewers_and_scrapers_cost_the_kitchen_what_one_does(kitchen, kitchen_url):
    fill(kitchen, [[str(n)] for n in range(20)])
    calls: Counter[str] = Counter()

    opened = list[Counted]()

    def open_counted() -> Counted:
        opened.append(Counted(open_kitchen(kitchen_url), calls))
        return opened[-1]

    alone, _, scraped_alone = asyncio.run(cost(open_counted, calls, 1))
    many, every_s, scraped = asyncio.run(cost(open_counted, calls, 50))

    assert scraped == scraped_alone
    assert 0 < many < alone + 5
    assert every_s > 0.9 * EVERY_S
    assert len(opened) == 2 * len(("poller", "metrics")), "a page has asked the kitchen itself"


@pytest.mark.parametrize("kitchen_url", ["sqlite"], indirect=True)
def test_the_first_page_waits_for_no_count(kitchen, kitchen_url):
    fill(kitchen, [["a"]])
    has_answered, bounds = threading.Event(), list[float]()

    class Slow(Counted):
        def __getattr__(self, name: str) -> object:
            if name == "counts":
                has_answered.wait(60)
            return super().__getattr__(name)

    async def pages() -> tuple[bytes, bytes]:
        viewing, app = served(lambda: Slow(open_kitchen(kitchen_url), Counter()))
        look_at = viewing.look_at

        async def noted(aspect: Aspect, within_s: float) -> None:
            bounds.append(within_s)
            await look_at(aspect, within_s)

        viewing.look_at = noted
        first, then = bytearray(), bytearray()
        async with app.router.lifespan_context(app):
            await asyncio.wait_for(ask(app, "/", first.extend), 10)
            is_early = not viewing.looks
            has_answered.set()
            await look_at(WHOLE, 60)
            await ask(app, "/", then.extend)
        assert is_early
        return bytes(first), bytes(then)

    first, then = asyncio.run(pages())

    assert max(bounds) <= 0.2
    assert b"Waiting for the kitchen to answer" in first
    assert b'<meta http-equiv="refresh" content="2">' in first
    assert b"READY</a> <b>1</b>" in then
