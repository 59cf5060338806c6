"""Progress on the terminal: a bar with remaining time, or plain lines when the output is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

PLAIN_SECONDS = 5.0  # a plain line at most this often


class Progress:
    """Callable ``progress(done, total, message)`` that writes to stderr.

    What stands before a colon in the message names the step; what follows may change while the step goes on. On a
    terminal a rich bar with the remaining time; otherwise one line per step and then every five seconds; nothing when
    ``quiet``.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._message = ""
        self._last = self._began = self._share = 0.0

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f} %"),
                TextColumn("left"),
                TimeRemainingColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, where: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: float, total: float, message: str = "") -> None:
        """Report that ``done`` of ``total`` is finished."""
        if self._quiet:
            return
        if self._bar is not None:
            self._show_bar(done, total, message)
        else:
            self._show_line(done, total, message)

    def _show_bar(self, done: float, total: float, message: str) -> None:
        if _step(message) != _step(self._message) or self._task is None:
            if self._task is not None:
                self._bar.update(self._task, completed=1, total=1)
            self._task = self._bar.add_task(message, total=total)
        self._message = message
        self._bar.update(self._task, completed=done, total=total, description=message)

    def _show_line(self, done: float, total: float, message: str) -> None:
        now = time.monotonic()
        new = _step(message) != _step(self._message)
        self._message = message
        if new:
            self._began, self._share = now, done / total if total else 0.0
        if not new and now - self._last < PLAIN_SECONDS:
            return
        self._last = now
        share = done / total if total else 1.0
        gone, spent = share - self._share, now - self._began
        left = f", {spent * (1 - share) / gone:.0f} s left" if gone > 0 and share < 1 and spent > 1 else ""
        print(f"{message}: {100 * share:.0f} %{left}", file=sys.stderr, flush=True)


def _step(message: str) -> str:
    return message.partition(":")[0]
