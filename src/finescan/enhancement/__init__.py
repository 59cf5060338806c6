"""Model, Image -> Enhanced: all of it, block by block, with a reason to doubt where there is one."""

from finescan.enhancement.config import EnhanceConfig, Enhanced
from finescan.enhancement.engine import enhance
from finescan.enhancement.volume_config import VolumeEnhanceConfig
from finescan.enhancement.volume_engine import enhance_chain, enhance_volume

__all__ = ["EnhanceConfig", "Enhanced", "VolumeEnhanceConfig", "enhance", "enhance_chain", "enhance_volume"]
