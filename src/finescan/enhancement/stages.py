"""Reader, compute and writer side by side, with bounded queues between them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

DEPTH = 2  # items that may wait between two stages: memory is DEPTH blocks, not the map
_POLL_S = 0.1
_END = object()

Item = TypeVar("Item")
Read = TypeVar("Read")
Computed = TypeVar("Computed")


class StageFailed(Exception):
    """A stage failed on an item; the cause is ``__cause__``."""

    def __init__(self, stage: str, item: Any) -> None:
        super().__init__(stage, item)
        self.stage, self.item = stage, item


class _Stopped(Exception):
    """Another stage failed."""


class Stages(Generic[Item, Read, Computed]):
    """Three stages: two threads around the calling one, which computes.

    The first failure of any stage stops all of them, the threads are joined, and it is raised (StageFailed for the
    reader and the writer, as it is for the computation, whose generator names its items itself).

    Parameters
    ----------
    read : item -> what the computation needs.
    compute : iterator of those -> iterator of results (may hold back and combine).
    write : keeps one result.
    depth : items that may wait between two stages.
    """

    def __init__(
        self,
        read: Callable[[Item], Read],
        compute: Callable[[Iterator[Read]], Iterable[Computed]],
        write: Callable[[Computed], None],
        *,
        depth: int = DEPTH,
    ) -> None:
        self._read, self._compute, self._write = read, compute, write
        self._to_compute: queue.Queue[Any] = queue.Queue(depth)
        self._to_write: queue.Queue[Any] = queue.Queue(depth)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self.written = 0

    def run(self, items: Iterable[Item], tick: Callable[[int], None]) -> None:
        """Push every item through; ``tick(number written)`` is called from this thread."""
        reader = threading.Thread(target=self._reading, args=(items,), name="finescan-reader", daemon=True)
        writer = threading.Thread(target=self._writing, name="finescan-writer", daemon=True)
        reader.start()
        writer.start()
        try:
            for result in self._compute(self._arriving()):
                self._put(self._to_write, result)
                tick(self.written)
            self._put(self._to_write, _END)
            while writer.is_alive():
                writer.join(_POLL_S)
                tick(self.written)
        except _Stopped:
            pass
        except BaseException as e:  # Ctrl-C too: the threads must not outlive the call
            self._fail(e)
        finally:
            self._stop.set()
            reader.join()
            writer.join()
        if self._failure is not None:
            raise self._failure

    def _arriving(self) -> Iterator[Read]:
        while (item := self._get(self._to_compute)) is not _END:
            yield item

    def _reading(self, items: Iterable[Item]) -> None:
        item = None
        try:
            for item in items:
                self._put(self._to_compute, self._read(item))
            self._put(self._to_compute, _END)
        except _Stopped:
            pass
        except BaseException as e:
            self._fail(_caused(StageFailed("reading", item), e))

    def _writing(self) -> None:
        item = None
        try:
            while (item := self._get(self._to_write)) is not _END:
                self._write(item)
                self.written += 1
        except _Stopped:
            pass
        except BaseException as e:
            self._fail(_caused(StageFailed("writing", item), e))

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stop.set()

    def _put(self, to: queue.Queue[Any], item: Any) -> None:
        while not self._stop.is_set():
            try:
                return to.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
        raise _Stopped

    def _get(self, source: queue.Queue[Any]) -> Any:
        while not self._stop.is_set():
            try:
                return source.get(timeout=_POLL_S)
            except queue.Empty:
                continue
        raise _Stopped


def _caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error
