"""A headless Chromium driven over the WebDriver protocol, plain JSON over HTTP."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *(
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--force-color-profile=srgb",
    ),
)


class Browser:
    """One window. Elements are found by CSS selectors, first match."""

    def __init__(self, address: str, session: str) -> None:
        self._base = f"{address}/session/{session}"

    def open(self, path: Path) -> None:
        """Load a file and wait until its script has drawn everything."""
        self.send("POST", "/url", {"url": path.resolve().as_uri()})
        self.wait("return document.documentElement.dataset.ready === 'yes'")

    def script(self, code: str, *arguments: Any) -> Any:
        """Run the body of a function in the page and return its value."""
        return self.send("POST", "/execute/sync", {"script": code, "args": list(arguments)})

    def wait(self, code: str, seconds: float = 20) -> None:
        """Run a script until it returns something true."""
        end = time.monotonic() + seconds
        while not self.script(code):
            assert time.monotonic() < end, f"after {seconds} s still not: {code}; {self.log()}"
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click where the element is, as a mouse would; it is brought to the middle first."""
        self.script(
            "document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector
        )
        found = self.send("POST", "/element", {"using": "css selector", "value": selector})
        (identity,) = found.values()
        self.send("POST", f"/element/{identity}/click", {})

    def keys(self, selector: str, text: str) -> None:
        """Type into an element."""
        found = self.send("POST", "/element", {"using": "css selector", "value": selector})
        (identity,) = found.values()
        self.send("POST", f"/element/{identity}/value", {"text": text})

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select by its value, by clicking it."""
        self.click(f'{selector} option[value="{value}"]')

    def log(self) -> list[dict[str, Any]]:
        """Return what the console has got since the last call, page errors included."""
        return self.send("POST", "/se/log", {"type": "browser"})

    def complaints(self) -> list[str]:
        """Return what the console has got, but for the advice that reading pixels back provokes."""
        messages = [entry["message"] for entry in self.log()]
        return [text for text in messages if "getImageData" not in text]

    def screenshot(self, path: Path) -> None:
        """Save what the window shows."""
        path.write_bytes(base64.b64decode(self.send("GET", "/screenshot")))

    def emulate(self, scheme: str) -> None:
        """Prefer "light" or "dark" from now on."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        command = {"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}}
        self.send("POST", "/goog/cdp/execute", command)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send one command; an error of the protocol fails the test with its message."""
        return _request(method, self._base + path, body)


@contextlib.contextmanager
def browser(folder: Path, width: int = 1400, height: int = 1000) -> Iterator[Browser]:
    """Start a browser with a profile of its own in `folder`; skips where there is none."""
    program = next((p for p in map(shutil.which, _NAMES) if p), None)
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium with chromedriver (Debian: chromium, chromium-driver)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(address)
        options = {
            "binary": program,
            "args": [*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"],
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        body = {"capabilities": {"alwaysMatch": wanted}}
        session = _request("POST", f"{address}/session", body)["sessionId"]
        try:
            yield Browser(address, session)
        finally:
            _request("DELETE", f"{address}/session/{session}")
    finally:
        process.terminate()
        process.wait(timeout=20)


def _request(method: str, url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    # Straight to the driver on this machine, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        message = json.load(error)["value"]
        raise AssertionError(f"{message['error']}: {message['message']}") from None


def _wait_for(address: str) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            if _request("GET", f"{address}/status")["ready"]:
                return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(0.1)
