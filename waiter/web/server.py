"""The server: where it listens, whom it knows by which name, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from waiter.errors import FileUnusable, UsageError
from waiter.kitchen.contract import Kitchen
from waiter.web.actions import Actions
from waiter.web.api import Api
from waiter.web.connections import BoundedProtocol
from waiter.web.gate import Gate, Secret
from waiter.web.metrics import Metrics
from waiter.web.pages import Pages, errors_told
from waiter.web.viewing import KitchenThread, Viewing

MOST_CONNECTIONS = 500
LOCAL_NAMES = ("localhost",)

PEM = "--certfile is a certificate in PEM, --keyfile its key, if the same file does not have it"


@dataclass(frozen=True, slots=True)
class Serving:
    """How the page is served."""

    host: str
    port: int  # 0: any that is free
    secret: Secret
    names: tuple[str, ...] = ()  # other names of the server
    is_read_only: bool = False
    certfile: Path | None = None
    keyfile: Path | None = None
    prices: Mapping[str, float] = field(default_factory=dict)  # of machines, those of waiter.toml

    @property
    def scheme(self) -> str:
        return "https" if self.certfile else "http"


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in LOCAL_NAMES


def listen(serving: Serving) -> socket.socket:
    """The socket that is listened on. Raises UsageError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            serving.host, serving.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
    except OSError as error:
        where = f"{serving.host}:{serving.port}"
        raise UsageError(f"cannot listen on {where}: {error.strerror or error}\nhint: --listen names another") from None
    return made


def _load(config: uvicorn.Config, serving: Serving) -> None:
    """Read the files of TLS, before anybody is told the address. Raises FileUnusable."""
    files = " and ".join(str(file) for file in (serving.certfile, serving.keyfile) if file)
    try:
        config.load()
    except ssl.SSLError as error:
        told = error.reason or "they are not what they should be"
        raise FileUnusable(f"{files}: no TLS with this: {told}\nhint: {PEM}") from None
    except OSError as error:
        raise FileUnusable(f"{files}: {error.strerror or error}") from None


def _is_told(record: logging.LogRecord) -> bool:
    """Whether it is worth telling: that connections and answers are cut when somebody ends the server is not."""
    is_cut = record.exc_info is not None and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (is_cut or record.getMessage().startswith("Cancel "))


class _Server(uvicorn.Server):
    """One that lets go who waits for news when it is told to end."""

    def __init__(self, config: uvicorn.Config, viewing: Viewing) -> None:
        super().__init__(config)
        self._viewing = viewing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._viewing.is_ending = True
        super().handle_exit(sig, frame)


def application(
    serving: Serving, port: int, where: str, open_kitchen: Callable[[], Kitchen], viewing: Viewing
) -> Starlette:
    """The pages behind their gate; the poller begins and ends with the server."""
    # What programs ask holds up nobody who looks.
    kitchen, asked, counted = (KitchenThread(open_kitchen, name) for name in ("pages", "api", "metrics"))
    pages = Pages(where, viewing, kitchen, None if serving.is_read_only else serving.secret.of_forms)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(viewing.look_for_ever())
        yield
        looking.cancel()
        viewing.close()
        for thread in (kitchen, asked, counted):
            thread.close()

    names = frozenset({*LOCAL_NAMES, serving.host, *serving.names, socket.gethostname(), socket.getfqdn()})
    gate = Middleware(
        Gate,
        secret=serving.secret,
        names=names,
        cookie=f"waiter_{port}",  # servers on other ports of this name have cookies of their own
        is_tls=serving.certfile is not None,
    )
    routes = [
        Route("/", pages.run),
        Route("/batches", pages.batches),
        Route("/waiters", pages.waiters),
        Route("/failures", pages.failures),
        Route("/orders", pages.orders),
        Route("/orders/{id}", pages.order),
        Route("/events/{name}", pages.events),
        Route("/metrics", Metrics(counted).answer),
        *Api(asked, serving.prices).routes,
        Route("/do/{what}", Actions(pages).act, methods=["POST"]),
        Mount("/static", StaticFiles(packages=[("waiter.web", "static")])),
    ]
    return Starlette(routes=routes, middleware=[gate], exception_handlers=errors_told(pages), lifespan=lifespan)


def serve(serving: Serving, where: str, open_kitchen: Callable[[], Kitchen], say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM; `say` is told its address once it can be opened. Raises UsageError."""
    with listen(serving) as listening:
        port, viewing = listening.getsockname()[1], Viewing(open_kitchen, serving.prices)
        config = uvicorn.Config(
            application(serving, port, where, open_kitchen, viewing),
            log_level="error",
            http=BoundedProtocol,
            access_log=False,  # addresses may hold the token
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=3,
            ssl_certfile=serving.certfile,
            ssl_keyfile=serving.keyfile,
        )
        _load(config, serving)
        logging.getLogger("uvicorn.error").addFilter(_is_told)
        listening.listen(config.backlog)
        shown = "localhost" if serving.host in ("0.0.0.0", "::") else serving.host
        shown = f"[{shown}]" if ":" in shown else shown
        say(f"{serving.scheme}://{shown}:{port}/?token={serving.secret.token}")
        with suppress(KeyboardInterrupt):  # Ctrl-C is how it is ended
            _Server(config, viewing).run(sockets=[listening])
