"""Chromium without a window, driven by its DevTools protocol; remembers every complaint."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

#: Seconds for the browser to start, and for one answer.
_PATIENCE = 120.0


class Browser:
    """One page of a headless Chromium; close it.

    Args:
        folder: for its profile and its log.
    """

    def __init__(self, folder: Path) -> None:
        program = shutil.which("chromium")
        assert program, "missing: chromium. Install it: apt-get install chromium"
        self._profile = folder / "chromium"
        self._profile.mkdir(parents=True)
        self.complaints: list[str] = []
        self._number = 0
        self._loads = 0
        with (folder / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    "--headless=new",
                    "--no-sandbox",  # it shows our own page, and CI runs as root
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--no-first-run",
                    "--hide-scrollbars",
                    "--remote-debugging-port=0",
                    f"--user-data-dir={self._profile}",
                    "about:blank",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._socket = self._attach()
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self._end()
            raise

    def _attach(self) -> ClientConnection:
        deadline = time.monotonic() + _PATIENCE
        port_file = self._profile / "DevToolsActivePort"
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert self._process.poll() is None, "chromium ended; its log says why"
            assert time.monotonic() < deadline, "chromium did not start"
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/json/list", timeout=_PATIENCE
        ) as answer:
            (target,) = [each for each in json.load(answer) if each["type"] == "page"]
        return connect(target["webSocketDebuggerUrl"], max_size=None, proxy=None)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A DevTools command's result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=_PATIENCE))
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                return message["result"]
            self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        event, said = message.get("method"), message.get("params", {})
        if event == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(said["exceptionDetails"])[:500])
        elif event == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{said['type']}: {json.dumps(said['args'])[:500]}")
        elif event == "Page.loadEventFired":
            self._loads += 1
        elif event == "Log.entryAdded":
            entry = said["entry"]
            self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")

    def open(self, url: str) -> None:
        """Load a page whole."""
        before, deadline = self._loads, time.monotonic() + _PATIENCE
        self.call("Page.navigate", url=url)
        while self._loads == before:
            assert time.monotonic() < deadline, f"not loaded: {url}"
            time.sleep(0.02)
            self.call("Browser.getVersion")  # hears what has happened meanwhile

    def size(self, width: int, height: int, *, scale: float = 1, dark: bool = False) -> None:
        """The window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def ask(self, expression: str) -> Any:
        """A JavaScript expression's value, or its promise's."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, expression: str, seconds: float = 30) -> Any:
        """The expression's first true value."""
        deadline = time.monotonic() + seconds
        while not (value := self.ask(expression)):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)
        return value

    def click(self, selector: str) -> None:
        """Press the mouse on the middle of an element, scrolled to where it can be seen."""
        name = json.dumps(selector)
        place = self.ask(
            f"(() => {{ const e = document.querySelector({name});"
            " e.scrollIntoView({ block: 'center', behavior: 'instant' });"
            " const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        self.point(*place)
        for kind in ("mousePressed", "mouseReleased"):
            self._mouse(kind, *place, button="left", clickCount=1)

    def point(self, x: float, y: float) -> None:
        """Move the mouse."""
        self._mouse("mouseMoved", x, y)

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def press(self, key: str) -> None:
        """Press a key: Enter, Tab, or a character."""
        codes = {"Enter": (13, "\r"), "Tab": (9, "")}
        code, text = codes.get(key, (0, key))
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed
            )

    def screenshot(self, path: Path, height: int | None = None) -> None:
        """The whole page, or its upper part, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "scale": 1, "width": size["width"]}
        clip["height"] = min(size["height"], height or size["height"])
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """End the browser."""
        self._socket.close()
        self._end()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(_PATIENCE)
