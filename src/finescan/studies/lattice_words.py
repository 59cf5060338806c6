"""What methods, samples and metrics of the lattice study are called on its pages."""

from finescan.studies.lattice_data import MAIN, OURS

NAMES = {
    "bicubic": "bicubic",
    "single-scale": "single-scale (1)",
    "coarser": "coarser (1, 2)",
    "finer": "finer (1, 3)",
    MAIN: "multi-scale (1, 2, 3)",
    "converging": "converging (with 4)",
    OURS: "finescan",
    "oracle": "oracle, learned from fine pictures",
}
SAMPLES = {"stem": "GaN, STEM", "stm": "graphite, STM"}
WORDS = {"psnr": "PSNR", "ms_ssim": "MS-SSIM", "gauss-psnr": "Gauss PSNR", "gauss-ms_ssim": "Gauss MS-SSIM"}
