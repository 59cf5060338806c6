"""A real browser for the tests: opens a page, runs a self-test in it, gives back what it saw."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0"),
]


def with_script(page: str, script: str) -> str:
    """The page with a script added, and allowed by its security policy."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = page.replace("script-src '", f"script-src 'sha256-{digest}' '")
    return page.replace("</body>", f"<script>{script}</script></body>")


def open_page(browser: str, page: Path, folder: Path, *flags: str) -> tuple[str, str]:
    """DOM and log after the page has settled."""
    command = [browser, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", *flags]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    return done.stdout, done.stderr


def complaints(log: str) -> list[str]:
    advice = "Multiple readback operations"  # about the self-test, which reads canvases back
    return [line for line in log.splitlines() if "CONSOLE" in line and advice not in line]


def selftest(browser: str, page: Path, script: str, *flags: str, size: str = "1200,900") -> dict:
    """What the self-test ``script`` (a file beside this one) saw in a page of its own."""
    parts = [(HERE / name).read_text(encoding="utf-8") for name in ("selftest_common.js", script)]
    page.write_text(with_script(page.read_text(encoding="utf-8"), "".join(parts)), encoding="utf-8")
    dom, log = open_page(browser, page, page.parent, f"--window-size={size}", "--dump-dom", *flags)
    assert complaints(log) == []
    found = re.search(r'<pre id="selftest">(.*?)</pre>', dom, re.S)
    assert found, f"the page's self-test did not finish:\n{log[-2000:]}"
    seen: dict = json.loads(html.unescape(found.group(1)))
    assert "error" not in seen, seen["error"]
    return seen
