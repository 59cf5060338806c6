"""Import time of finescan as a ratio to starting bare Python, and whether torch came along.

Run: python benchmarks/import_time.py [repeats]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

CASES = {
    "bare python": "pass",
    "import numpy": "import numpy",
    "import finescan": "import finescan",
    "finescan.read": "import finescan; finescan.read",
}


def seconds(code: str, repeats: int) -> float:
    """Median wall time of a fresh interpreter that runs ``code``."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def loads(module: str, code: str) -> bool:
    """Whether running ``code`` leaves ``module`` loaded."""
    probe = f"import sys; {code}; print({module!r} in sys.modules)"
    return subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True).stdout == "True\n"


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    seconds("import finescan; finescan.read", 1)  # fill the file cache
    bare = seconds(CASES["bare python"], repeats)
    print(f"median of {repeats} fresh interpreters")
    for name, code in CASES.items():
        took = seconds(code, repeats)
        heavy = ", ".join(m for m in ("torch", "tifffile", "zarr", "scipy") if loads(m, code)) or "nothing heavy"
        print(f"{name:16s} {1e3 * took:7.0f} ms  {took / bare:5.1f} x bare python  loads {heavy}")


if __name__ == "__main__":
    main()
