"""Show the kitchen in a browser: progress, failures, waiters. The address that it prints has a token.

Beyond this machine it is served only with a token of your own or TLS, unless --insecure says otherwise.

\b
waiter serve
waiter serve --listen 0.0.0.0:8321 --certfile cert.pem --keyfile key.pem
"""

from __future__ import annotations

import secrets
import threading
import webbrowser
from pathlib import Path

import click

from waiter.cli.console import say
from waiter.cli.options import open_kitchen_or_exit, with_settings
from waiter.errors import FileUnusable, UsageError
from waiter.kitchen import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.settings import Settings

SHORTEST_TOKEN = 16

OPEN_TO_ALL = """{} can be reached from other machines
hint: give --token-file, or --certfile and --keyfile, or --insecure to serve it all the same"""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(help=__doc__)
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:8321", show_default=True, help="Port 0: a free one.")
@click.option("--host", "hosts", multiple=True, metavar="NAME", help="Another name that the server has. Repeatable.")
@click.option("--read-only", is_flag=True, help="Show, and change nothing.")
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
@click.option("--token-file", type=FILE, help="A file with the token, instead of a new one each time.")
@click.option("--certfile", type=FILE, help="The certificate for TLS.")
@click.option("--keyfile", type=FILE, help="Its key, if that is in a file of its own.")
@click.option("--insecure", is_flag=True, help="Beyond this machine without TLS and with a token that is printed.")
@with_settings
def serve(
    settings: Settings,
    listen: str,
    hosts: tuple[str, ...],
    read_only: bool,
    is_opened: bool,
    token_file: Path | None,
    certfile: Path | None,
    keyfile: Path | None,
    insecure: bool,
) -> int:
    try:
        from waiter.web.gate import Secret
        from waiter.web.server import Serving, is_loopback
        from waiter.web.server import serve as serve_pages
    except ImportError as error:
        raise UsageError(f"serve needs {error.name}\nhint: pip install 'simple-waiter[web]'") from None

    host, port = _address(listen)
    if not (is_loopback(host) or token_file or certfile or insecure):
        raise UsageError(OPEN_TO_ALL.format(host))
    if keyfile and not certfile:
        raise UsageError("--keyfile is nothing without --certfile")
    secret = Secret(_token_in(token_file) if token_file else secrets.token_urlsafe(24))
    serving = Serving(host, port, secret, hosts, read_only, certfile, keyfile, settings.prices)
    with open_kitchen_or_exit(settings) as kitchen:
        where = kitchen.url

    def opened() -> Kitchen:
        return open_kitchen(settings.kitchen, settings.db, create=False)

    def tell(url: str) -> None:
        click.echo(url.partition("?")[0] if token_file else url)
        say("Ctrl-C ends it.")
        if is_opened:
            _open(f"{url.partition('?')[0]}?token={secret.ticket()}")

    serve_pages(serving, where, opened, tell)
    return 0


def _open(url: str) -> None:
    """Open it beside us: some browsers come back when they are closed, and all of them want an answer before."""

    def opened() -> None:
        if not webbrowser.open(url):
            say("No browser was found: open the address yourself.")

    threading.Thread(target=opened, name="browser", daemon=True).start()


def _address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise UsageError(f"--listen: {listen} is no HOST:PORT, such as 127.0.0.1:8321")
    return host.strip("[]"), int(port)


def _token_in(path: Path) -> str:
    try:
        token = path.read_text(errors="replace").strip()
    except OSError as error:
        raise FileUnusable(f"{path}: {error.strerror or error}") from None
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()) or set(token) & set(' ";,\\'):
        raise UsageError(f"{path}: a token is {SHORTEST_TOKEN} letters and digits or more, on one line")
    return token
