"""The page as people use it: a real Chromium walks through a real `waiter serve`."""

from __future__ import annotations

import importlib.resources
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.conftest import eventually, outcome, unavailable
from tests.serving import Site, serving
from waiter import open_kitchen
from waiter.kitchen.contract import Kitchen
from waiter.orders import Batch, Order, Reason, Selector, Shift, Status, Vitals

EVIL = "<script>window.hacked = 1</script><b class=evil>\u202edna\u2066 & \"'"
"""What a hostile input, command or host would write: markup, controls that turn text around, quotes."""

GROUP = "3f9c2a1b"
PAGES = ("/", "/batches", "/failures", "/waiters", "/orders", "/orders/b-1")
LEFT = 60
"""Orders that are READY at first."""

VITALS = Vitals(slots=4, busy=1, delivered=5, failed=4, memory=50 << 20, load=1.5, command="./crunch.sh")


@dataclass
class World:
    """A kitchen with some work, its page, and a browser that has opened it."""

    kitchen: Kitchen
    shift: Shift
    site: Site
    browser: Chrome

    def open(self, path: str) -> None:
        self.browser.get(f"http://{self.site.address}{path}")

    def all(self, css: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, css)

    def press_button(self, words: str) -> None:
        assert eventually(lambda: self._press_button(words)), words

    def _press_button(self, words: str) -> bool:
        try:
            button = next((one for one in self.all("button") if one.text == words), None)
            if button is not None:
                button.click()
        except StaleElementReferenceException:  # what is live was drawn anew meanwhile
            return False
        return button is not None

    def shows(self, words: str) -> bool:
        # Asked in the page: an element that is found may be replaced before it is read.
        return bool(self.browser.execute_script("return document.body.innerText.includes(arguments[0])", words))

    def finish_one(self) -> Order:
        # These tests may take longer than a lease, and a waiter without one gets no order.
        self.kitchen.heartbeat(self.shift, VITALS)
        (order,) = self.kitchen.claim(self.shift, limit=1)
        self.kitchen.finish(self.shift, [outcome(order)])
        return order

    def count(self, status: Status) -> int:
        return self.kitchen.counts()[status]

    def script(self, words: str) -> object:
        return self.browser.execute_script(f"return {words}")

    def prefer(self, scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def resize(self, width: int, height: int = 900) -> None:
        facts = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", facts)

    def focused(self) -> str:
        """What the keys go to: its words."""
        return str(self.script("document.activeElement.innerText"))

    def tab_to(self, words: str) -> None:
        """Press Tab until this has the focus."""
        for _ in range(60):
            ActionChains(self.browser).send_keys(Keys.TAB).perform()
            if self.focused() == words:
                return
        pytest.fail(f"no way to {words} by Tab")

    def press(self, key: str) -> None:
        ActionChains(self.browser).send_keys(key).perform()


def work(kitchen: Kitchen) -> Shift:
    """Three failures of one kind and a hostile one, some that are done, one that runs, and more to do."""
    rows = [[EVIL], ["long " + "x" * 10_000], *([f"tile-{n}", "--level=3"] for n in range(8 + LEFT))]
    kitchen.open_batch(Batch("b", EVIL, "b.csv", "b", len(rows), len(rows), 0, kitchen.now(), True))
    kitchen.add("b", [(number, row, None) for number, row in enumerate(rows, 1)])
    shift = kitchen.check_in(EVIL, f"host{EVIL}", os.getpid(), VITALS)
    evil, *others, _running = kitchen.claim(shift, limit=10)
    failed = {"exit_code": 3, "reason": Reason.EXIT}
    hostile = {"error": EVIL, "error_group": "bad", "tail": EVIL + "\n" + "y" * 10_000}
    kitchen.finish(shift, [outcome(evil, Status.ERROR, **failed, **hostile)])
    known = {**failed, "error": "exit code 3: no such tile", "error_group": GROUP, "tail": "no such tile\n"}
    kitchen.finish(shift, [outcome(order, Status.ERROR, **known) for order in others[:3]])
    kitchen.finish(shift, [outcome(order, result='{"area": 4}') for order in others[3:]])
    return shift


def chromium(folder: Path) -> Chrome:
    """A browser that talks to this machine only."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        unavailable("no chromium or no chromedriver: install Debian's chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    profile, alone = f"user-data-dir={folder / 'profile'}", "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    quiet = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
    for word in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", *quiet, profile, alone):
        options.add_argument(f"--{word}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options, ChromeService(driver))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("browser")
    url = str(folder / "kitchen.sqlite")
    env = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    browser = chromium(folder)
    try:
        with open_kitchen(url) as kitchen:
            shift = work(kitchen)
            with serving(url, env) as site:
                made = World(kitchen, shift, site, browser)
                made.open(f"/?token={site.token}")
                yield made
    finally:
        browser.quit()


@pytest.fixture(autouse=True)
def _at_a_desk(world: World) -> Iterator[None]:
    world.resize(1280)
    world.prefer("light")
    yield
    said = [line["message"] for line in world.browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [line for line in said if "favicon" not in line] == [], "the browser complains"


def test_the_address_opens_and_what_ends_is_pushed_into_it(world):
    world.open(f"/?token={world.site.token}")
    assert world.browser.current_url == f"http://{world.site.address}/"
    done = world.count(Status.DONE)
    assert eventually(lambda: world.shows(f"DONE {done}"))
    world.script("window.marker = 'the same page'")

    world.finish_one()
    began = time.monotonic()

    assert eventually(lambda: world.shows(f"DONE {done + 1}"))
    print(f"shown {time.monotonic() - began:.2f} s after the order ended")
    assert world.script("window.marker") == "the same page", "it was loaded anew"


def test_a_group_of_failures_is_done_again(world):
    world.open("/failures")
    assert world.shows("no such tile")

    world.press_button("Do 3 orders again…")
    assert eventually(lambda: world.shows("3 orders of this kind failed"))
    assert world.kitchen.counts(Selector(error_group=GROUP)).total == 3
    world.press_button("Yes, do 3 orders again")

    assert eventually(lambda: world.kitchen.counts(Selector(error_group=GROUP)).total == 0)
    assert eventually(lambda: not world.shows("no such tile"))
    assert world.browser.current_url.endswith("/failures")


def test_one_order_is_opened_from_the_list(world):
    world.open("/orders?status=DONE")
    link = world.all("tbody a")[0]
    order_id = link.text
    link.click()

    assert eventually(lambda: world.browser.current_url.endswith(f"/orders/{order_id}"))
    assert world.shows(order_id)
    assert world.shows('{"area": 4}')


def test_a_long_list_goes_on_from_page_to_page(world):
    world.open("/orders?sort=-age&limit=20&match=tile")
    seen: list[str] = []
    while True:
        seen += [link.text for link in world.all("tbody a")]
        if not (more := world.all("a[rel=next]")):
            break
        more[0].click()

    assert seen == [order.id for order in world.kitchen.find(Selector(match="tile"), sort="-age")]
    world.browser.find_element(By.LINK_TEXT, "From the beginning").click()
    assert world.all("tbody a")[0].text == seen[0]


def test_a_list_is_sorted_by_the_head_of_a_column(world):
    world.open("/orders?status=DONE&status=ERROR")
    world.browser.find_element(By.LINK_TEXT, "Ended").click()

    assert world.browser.current_url.endswith("/orders?status=DONE&status=ERROR&sort=-stop")
    assert [head.text for head in world.all("th[aria-sort=descending]")] == ["Ended ↓"]
    ended = world.kitchen.find(Selector(statuses=(Status.DONE, Status.ERROR)), sort="-stop")
    assert [link.text for link in world.all("tbody a")] == [order.id for order in ended]


def test_on_paper_it_is_black_on_white_without_buttons(world):
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    world.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [dark]})
    try:
        world.open("/failures")
        assert world.script("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not [one for one in world.all("nav, button") if one.is_displayed()]
        assert world.shows("no such tile") or world.shows("<b class=evil>")
        world.open("/orders")
        assert world.script("getComputedStyle(document.querySelector('table')).display") == "table"
    finally:
        world.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_all_waiters_are_paused_and_go_on(world):
    world.open("/waiters")
    for words, is_paused in (("Pause all", True), ("Resume all", False)):
        world.press_button(words)
        assert eventually(lambda: [one.is_paused for one in world.kitchen.shifts()] == [is_paused])  # noqa: B023


def test_a_link_with_a_selector_shows_the_same_to_a_colleague(world):
    world.browser.delete_all_cookies()
    world.open(f"/orders?status=DONE&match=tile&sort=-stop&token={world.site.token}")

    assert world.browser.current_url == f"http://{world.site.address}/orders?status=DONE&match=tile&sort=-stop"
    rows = [row.text for row in world.all("tbody tr")]
    assert len(rows) == world.count(Status.DONE)
    assert all("DONE" in row and "tile" in row for row in rows)


@pytest.mark.parametrize("width", [390, 1600])
def test_no_page_is_wider_than_the_screen(world, width):
    world.resize(width)
    for page in PAGES:
        world.open(page)
        beyond = world.script("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert (beyond, world.script("innerWidth")) == (0, width), page


def test_the_keyboard_alone_is_enough(world):
    world.open("/")
    world.tab_to("To the content")
    world.press(Keys.ENTER)
    assert eventually(lambda: world.browser.current_url.endswith("#main"))

    world.open("/batches")
    world.tab_to(str(world.script("document.querySelector('.all-batches a').innerText")))
    world.press(Keys.ENTER)
    assert eventually(lambda: "/?batch=b" in world.browser.current_url)

    world.open("/")
    world.tab_to("Waiters")
    world.press(Keys.ENTER)
    assert eventually(lambda: world.browser.current_url.endswith("/waiters"))
    world.tab_to("Pause all")
    assert "none" not in str(world.script("getComputedStyle(document.activeElement).outlineStyle"))
    world.press(Keys.ENTER)

    assert eventually(lambda: all(one.is_paused for one in world.kitchen.shifts()))
    world.kitchen.resume()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labels_roles_and_contrast_are_what_wcag_asks_for(world, scheme):
    world.prefer(scheme)
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text()
    for page in PAGES:
        world.open(page)
        world.browser.execute_script(axe)
        found = world.browser.execute_async_script(
            "const done = arguments[0]; axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})"
            ".then(r => done([r.violations.map(v => [v.id, v.nodes[0].html.slice(0, 300)]), r.passes.map(p => p.id)]))"
        )
        violations, passes = found
        assert violations == [], f"{page}, {scheme}"
        assert "color-contrast" in passes
    paper = str(world.script("getComputedStyle(document.body).backgroundColor"))
    brightness = sum(int(part) for part in paper.strip("rgb()").split(",")) / 3
    assert (brightness < 100) == (scheme == "dark")


def test_what_others_wrote_stays_text(world):
    for page in PAGES:
        world.open(page)
        assert world.script("[typeof window.hacked, document.querySelectorAll('.evil').length]") == ["undefined", 0], (
            page
        )
        assert not {"\u202e", "\u2066"} & set(world.browser.page_source), page
        assert world.shows("<b class=evil>\\u202edna"), page


def test_without_javascript_it_is_still_useful(world):
    world.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        world.open("/")
        assert f"{world.count(Status.READY)}" in world.browser.page_source
        assert 'http-equiv="refresh"' in world.browser.page_source
    finally:
        world.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_a_bar_says_its_numbers_and_a_table_that_is_open_stays_open(world):
    world.open("/")

    def is_said() -> bool:
        try:  # the chart may be drawn anew meanwhile
            bar = next(one for one in world.all("#finished g") if one.find_elements(By.CSS_SELECTOR, ".s-DONE"))
            ActionChains(world.browser).move_to_element(bar).perform()
            return "delivered" in world.all("#finished .value")[0].text
        except StaleElementReferenceException:
            return False

    assert eventually(is_said)
    world.script("document.querySelector('#finished details').open = true")
    drawn = "document.querySelector('#finished svg').getAttribute('aria-label')"
    before = world.script(drawn)

    world.finish_one()

    assert eventually(lambda: world.script(drawn) != before)
    assert world.script("document.querySelector('#finished details').open") is True
