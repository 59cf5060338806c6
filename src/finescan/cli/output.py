"""What a command prints at its end."""

from __future__ import annotations

import json
from typing import Any


def show(result: Any, as_json: bool) -> None:
    """An outcome, in words or as JSON."""
    print(json.dumps(result.to_dict(), indent=1, ensure_ascii=False) if as_json else str(result))
