"""Small TIFF files with vendors' private tags, made for the tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile


def picture(rows: int = 40, columns: int = 60, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Uneven grey levels."""
    return np.random.default_rng(seed).integers(20, 200, (rows, columns)).astype(dtype)


def tiff(path: Path, data: np.ndarray, *, code: int | None = None, text: str | bytes = "", **more) -> Path:
    """A TIFF with one private tag holding ``text`` as bytes."""
    raw = text.encode("latin-1") if isinstance(text, str) else text
    # type 7 is "undefined": bytes as they are
    tags = [] if code is None else [(code, 7, len(raw), raw, True)]
    tifffile.imwrite(
        path, data, extratags=tags, metadata=None, photometric=more.pop("photometric", "minisblack"), **more
    )
    return path


def zeiss_text(columns: int, *, image_pixel: str | None, pixel: str, line3: float) -> str:
    """A SmartSEM header as stored: nameless numbers, then key and value lines."""
    lines = ["0", "0", "0", f"{line3:.6e}", "1.0", "0"]
    said = {
        "AP_PIXEL_SIZE": f"Pixel Size = {pixel}",
        "AP_STAGE_AT_X": "Stage at X = 75.6442 mm",
        "AP_STAGE_AT_T": "Stage at T =  12.5 °",
        "DP_DETECTOR_TYPE": "Detector = InLens",
        "DP_IMAGE_STORE": f"Store resolution = {columns} * {columns * 3 // 4}",
        "AP_LINE_TIME": "Line Time = 51.2 ms",
        "AP_ACTUALKV": "EHT = 5.00 kV",
        "AP_SCANROTATION": "Scan Rotation = 145.6 °",
    }
    if image_pixel is not None:
        said["AP_IMAGE_PIXEL_SIZE"] = f"Image Pixel Size = {image_pixel}"
    return "\r\n".join([*lines, *(part for item in said.items() for part in item)])


def thermo_text(*, rows: int, columns: int, pixel_m: float = 3.3724e-6, scan: str = "EScan") -> str:
    """An FEI / Thermo Fisher header."""
    return f"""[User]
Date=06/13/2016
Time=05:06:40 PM
[Beam]
HV=5000
ScanRotation=0.5
Beam=EBeam
Scan={scan}
[EBeam]
HV=5000
BeamCurrent=6.25e-012
WD=0.004
[Scan]
Dwelltime=1e-005
PixelWidth={pixel_m}
PixelHeight={pixel_m * 0.9}
[Stage]
StageX=2.576e-005
StageY=-0.000194177
StageZ=0.007965
StageR=-2.3611
StageT=0.5235987756
[Image]
ResolutionX={columns}
ResolutionY={rows}
[Detectors]
Number=1
Name=ETD
"""


def tescan_tag(*, pixel_m: float, strip: int) -> bytes:
    """The block structure of TESCAN's tag: a thumbnail, then two blocks of key=value lines."""
    thumbnail = b"\x00\x00\x00\x0cjP  X=1\r\n"
    main = (
        f"Device=TESCAN AMBER\r\nPixelSizeX={pixel_m:.15f}\r\nPixelSizeY={pixel_m:.15f}\r\nImageStripSize={strip}\r\n"
    )
    sem = (
        "Detector=E-T\r\nDwellTime=0.000032\r\nHV=30000.0\r\nStageTilt=10.0\r\nStageX=0.0019\r\nScanRotation=180.0\r\n"
    )

    def block(kind: int, body: bytes) -> bytes:
        return (len(body) + 2).to_bytes(4, "little") + kind.to_bytes(2, "little") + body

    return block(1, thumbnail) + block(2, main.encode()) + block(3, sem.encode())


JEOL_SEM = """$CM_FORMAT  JEOL-SEM 1.0
$CM_INSTRUMENT JSM-7001F
$CM_ACCEL_VOLT 15.00
$CM_FULL_SIZE 60 40
$CM_SIGNAL_NAME SEI
$$SM_MICRON_BAR 50
$$SM_MICRON_MARKER 10\xb5m
"""

JEOL_SIGHTX = """<?xml version="1.0"?>
<TemReporter><Instruments>JEM-ARM200F</Instruments>
<ImageFormingMode>{mode}</ImageFormingMode><AccelerationVoltage>200000</AccelerationVoltage>
<StagePosition><TX>0.1</TX></StagePosition>
<PixelsPerMeter><Horizontal>9</Horizontal><Vertical>9</Vertical></PixelsPerMeter>
<DrawImageInformation><ImageSize><Width>60</Width><Height>40</Height></ImageSize>
<PixelsPerMeter><Horizontal>4000</Horizontal><Vertical>4000</Vertical></PixelsPerMeter></DrawImageInformation>
<Measurement_UnitType>{unit}</Measurement_UnitType><SelectorValue>125000</SelectorValue>
</TemReporter>"""
