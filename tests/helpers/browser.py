"""A visitor of the web page, in a headless Chromium. As a script: the page with a result, as a picture.

python tests/helpers/browser.py docs/images/demo.jpg
"""

from __future__ import annotations

import io
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from contextual_attention.models.data.bundled import bundled_photographs
from contextual_attention.models.filling import page

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Offline: the page has to do without every other machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
PROGRAMS = ("chromium", "chromedriver")
_PATIENCE = 120  # seconds


def missing_programs() -> list[str]:
    """What has to be installed before there can be a visitor."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


class Visitor:
    """Someone who uses the page at an address."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        driver.get(address)
        self._wait(lambda: self._canvas().is_displayed())

    def upload(self, path: Path) -> None:
        self.driver.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(path))

    def pick(self, index: int) -> None:
        """Click on an example."""
        self._wait(lambda: len(self.driver.find_elements(By.CSS_SELECTOR, "#examples button")) > index)
        self.driver.find_elements(By.CSS_SELECTOR, "#examples button")[index].click()

    def wait_for_photograph(self, other_than: Image.Image | None = None) -> None:
        """Until the editor, which is white, shows something in its middle, and something else than it did."""

        def shown() -> bool:
            seen = self.editor()
            return min(_pixel(seen, 0, 0)) < 250 and seen != other_than

        self._wait(shown)

    def brush(self, points: Sequence[tuple[int, int]]) -> None:
        """Draw a stroke through points, (right, down) in pixels of the screen from the editor's middle.

        Again and again until it shows: an editor that shows a photograph may not be ready for strokes yet.
        """
        before = self.editor()

        def drawn() -> bool:
            actions = ActionChains(self.driver, duration=50)
            actions.move_to_element_with_offset(self._canvas(), *points[0]).click_and_hold()
            for (x, y), (right, down) in pairwise(points):
                actions.move_by_offset(right - x, down - y)
            actions.release().perform()
            # The pointer, which the editor draws, is not at the start any more.
            return _pixel(self.editor(), *points[0]) != _pixel(before, *points[0])

        self._wait(drawn)

    def editor(self) -> Image.Image:
        """The editor as it looks once it has not changed for a second."""
        seen = [None]

        def still() -> Image.Image | None:
            time.sleep(1)
            seen.append(Image.open(io.BytesIO(self._canvas().screenshot_as_png)).convert("RGB"))
            return seen[-1] if seen[-1] == seen[-2] else None

        return self._wait(still)

    def fill(self) -> None:
        self.driver.find_element(By.ID, "fill").click()

    def told(self) -> str:
        """The line under the result, once there is one."""
        return self._wait(lambda: self.driver.find_element(By.ID, "told").text)

    def message(self) -> str:
        """What the page complains about; the message is closed."""

        def texts() -> list[str]:
            toasts = self.driver.find_elements(By.CSS_SELECTOR, "[data-testid=toast-body]")
            return [text for text in (toast.text for toast in toasts) if text]

        # It fades in and out, and has no text when it cannot be seen.
        said = self._wait(texts)[0]
        self.driver.find_element(By.CSS_SELECTOR, "[data-testid=toast-close]").click()
        self._wait(lambda: not texts())
        return said

    def picture(self, name: str) -> Image.Image:
        """The picture that the page shows under a name, ``"result"`` or ``"attention"``."""
        shown = self._wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, f"#{name} img"))[0]
        with urllib.request.urlopen(shown.get_attribute("src")) as answer:
            return Image.open(io.BytesIO(answer.read()))

    def hosts(self) -> set[str]:
        """The machines that the page has asked for something."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [event for event in events if event["method"] == "Network.requestWillBeSent"]
        addresses = [urlsplit(event["params"]["request"]["url"]) for event in asked]
        return {address.hostname for address in addresses if address.scheme in ("http", "https", "ws", "wss")}

    def _canvas(self) -> WebElement:
        return self._wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, "#editor canvas"))[0]

    def _wait(self, until: Callable[[], Any]) -> Any:
        # What was found may be replaced before it is looked at.
        waiting = WebDriverWait(
            self.driver, _PATIENCE, 0.1, ignored_exceptions=[StaleElementReferenceException]
        )
        return waiting.until(lambda _: until())


def _pixel(picture: Image.Image, right: int, down: int) -> tuple[int, ...]:
    """The colour at a place from the middle."""
    return picture.getpixel((picture.width // 2 + right, picture.height // 2 + down))


@contextmanager
def visitor(address: str, size: tuple[int, int] = (1280, 1000)) -> Iterator[Visitor]:
    """A visitor with a browser, and a profile, of their own; ``size`` of the window, in pixels."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
            options.add_argument(flag)
        # The path of the driver is given, else selenium would look for one on the network.
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            yield Visitor(driver, address)
        finally:
            driver.quit()


def draw(target: Path) -> None:
    """The page after the mast on the right of the rocket has been removed."""
    names = list(bundled_photographs())
    shown = page.build(page.Desk(), bundled_photographs().values())
    address = page.serve(shown, "127.0.0.1", None, wait=False)
    try:
        with visitor(address, (1240, 1190)) as someone:
            someone.pick(names.index("rocket"))
            someone.wait_for_photograph()
            someone.brush([(81, -68), (84, 0), (88, 60), (92, 112)])
            someone.fill()
            someone.told()
            someone.picture("attention")
            taken = Image.open(io.BytesIO(someone.driver.get_screenshot_as_png()))
    finally:
        shown.close(verbose=False)
    taken.convert("RGB").save(target, quality=85)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
