"""Model, Image -> Enhanced: the whole coarse map, block by block, with a reason to doubt where there is one."""

from finescan.enhancement.config import EnhanceConfig, Enhanced
from finescan.enhancement.engine import enhance

__all__ = ["EnhanceConfig", "Enhanced", "enhance"]
