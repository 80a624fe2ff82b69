"""Photograph the pages of `waiter serve` for docs/images, in Debian's Chromium: a run on three hosts, in the light.

python website/screenshots.py [FOLDER]

It needs Linux, for each waiter gets a host's name of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from waiter.kitchen import open_kitchen  # noqa: E402
from waiter.orders import Selector, Status  # noqa: E402
from website.picture import at_work  # noqa: E402

WIDTH, HEIGHT = 1200, 820
WATCHED_S = 40.0


def main(folder: Path) -> None:
    """Take a picture of each page."""
    folder.mkdir(exist_ok=True)
    with at_work(on_hosts=True) as kitchen:
        words = [sys.executable, "-m", "waiter", "-k", str(kitchen), "serve", "--listen", "127.0.0.1:0"]
        page = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        browser = chromium()
        try:
            address = page.stdout.readline().strip() if page.stdout else ""
            browser.get(address)
            time.sleep(WATCHED_S)
            for name, path in pages(kitchen).items():
                browser.get(f"http://{urlsplit(address).netloc}{path}")
                # What stands there is a folder of this machine.
                browser.execute_script("document.querySelector('.kitchen').textContent = 'samples.sqlite'")
                browser.save_screenshot(str(folder / f"{name}.png"))
        finally:
            browser.quit()
            page.send_signal(signal.SIGINT)
            page.wait()


def pages(kitchen: Path) -> dict[str, str]:
    with open_kitchen(str(kitchen), create=False) as opened:
        failed = opened.page(Selector(statuses=(Status.ERROR,)), sort="-stop", limit=1)[0]
    return {
        "run": "/",
        "failures": "/failures",
        "waiters": "/waiters",
        "orders": "/orders?status=ERROR&sort=-stop",
        "order": f"/orders/{failed.id}",
    }


def chromium() -> Chrome:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    alone = "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    words = ["headless=new", "disable-gpu", "hide-scrollbars", "no-first-run", "disable-background-networking", alone]
    if os.geteuid() == 0:
        words.append("no-sandbox")
    for word in [*words, f"user-data-dir={tempfile.mkdtemp(prefix='chromium-')}"]:
        options.add_argument(f"--{word}")
    browser = Chrome(options, ChromeService(shutil.which("chromedriver")))
    facts = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", facts)
    return browser


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images")
