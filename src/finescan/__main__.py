"""``python -m finescan`` and the ``finescan`` command: set up the process, hand over, turn errors into exit codes."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # mallopt's names for them, malloc.h of glibc
_LARGEST_INT = 2**31 - 1
USAGE, INTERRUPTED = 2, 130


def tune_process() -> None:
    """Thread and allocator settings that only work before torch is loaded.

    * OpenMP threads sleep at barriers instead of spinning: on a busy machine two spinning threads are slower than
      one. Read by the library when it is loaded, hence from the environment; a user's own setting is kept.
    * glibc keeps freed memory instead of giving every large array back to the kernel and having its pages zeroed
      anew layer after layer: with 656 x 656 px tiles that is 13.8 instead of 8.5 Mpx/s. ``mallopt`` acts on the
      running process, so nothing is started twice; elsewhere than on glibc nothing is done.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # Windows, macOS, musl
        return
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, _LARGEST_INT)


def main() -> int:
    """Run the command line; returns the exit code."""
    tune_process()
    from finescan.errors import FinescanError

    try:
        from finescan.cli import main as cli_main

        code = cli_main()
        return _interrupted() if code == INTERRUPTED else code  # some versions of the parser catch Ctrl-C
    except FinescanError as e:
        _say(f"error: {e}")
        return e.exit_code
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as e:
        # the parser has its own: wrong usage knows how to show itself, and Ctrl-C arrives as "Abort"
        if type(e).__name__ == "Abort":
            return _interrupted()
        if not hasattr(e, "show"):
            raise
        e.show()
        return int(getattr(e, "exit_code", USAGE))


def _interrupted() -> int:
    _say("interrupted; run the same command again to continue")
    return INTERRUPTED


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
