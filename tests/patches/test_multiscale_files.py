"""Written sets: to the byte what the published rules say, and what we write otherwise."""

from __future__ import annotations

import io as byte_stream
import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from finescan.errors import InputError, OutputError
from finescan.io import read
from finescan.patches import MultiscaleConfig, WriteConfig, ZoomScale, write_multiscale
from finescan.patches.multiscale_split import crop_starts, split_pictures
from finescan.values import Grid, Image

CROP, SIDE, SIDE_FINER, SIDE_LAST = 32, 2, 3, 2
MX = MultiscaleConfig((0.35, 0.7), (1.2, 1.7), (0.55, 0.75), 4, crop=CROP, scale=ZoomScale(5.0, "MX"))
NM = MultiscaleConfig((24 / 31, 24 / 25), (24 / 23, 24 / 14), (12 / 14,), 2, crop=CROP, scale=ZoomScale(24.0, "nm"))
HOW = WriteConfig(SIDE, SIDE_FINER, SIDE_LAST, seed=1337, published=True, subset=7)


def pictures(count, shape=(75, 83), dtype=np.uint8):
    found = []
    for k in range(count):
        grey = np.random.default_rng(k).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
        found.append(Image(grey, Grid.of(shape, 0.5), f"S{k:02d}.png"))
    return found


# --------------------------------------------------------- the rules, written down once more, without finescan
def png(array):
    stream = byte_stream.BytesIO()
    Pillow.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


def resize(array, width, height, number):
    return np.asarray(Pillow.fromarray(array).resize((width, height), number))


def rules(images, config, how):
    """Every file a published set has: path -> bytes. Levels are typed, not computed from ratios."""
    nm, s = config.scale.unit == "nm", config.sr_factor
    r0 = config.scale.recorded
    if nm:
        levels, last_levels = [24.0, 31.0, 25.0, 23.0, 14.0], [14.0]
    else:
        levels, last_levels = [5.0, 1.75, 3.5, 6.0, 8.5], [11.0, 15.0]
    files, rng = {}, random.Random(how.seed)
    names = sorted(i.name[:-4] for i in images)
    grey = {i.name[:-4]: i.data for i in images}
    rng.shuffle(names)
    n = len(names)
    if nm:
        first = min(int(0.8 * n), n - 2)
        second = first + max(int(0.1 * n), 1)
        third = second + max(int(0.1 * n), 1)
    else:
        first, second = int(0.8 * n), int(0.8 * n) + int(0.1 * n)
        third = second + int(0.1 * n)
    parts = {"train": names[:first], "val": names[first:second], "test": names[second:third]}
    for name in names:
        files[f"source/{name}.png"] = png(grey[name])
    for part, own in parts.items():
        numbers = [0] if part == "test" else [0, 1, 2, 3, 4, 5]
        fine = []
        for name in own:
            files[f"{part}/source/{name}.png"] = png(grey[name])
            h, w = grey[name].shape
            for level in levels:
                ratio = 1 / (level / r0) if nm else level / r0
                zoom = resize(grey[name], int(w * ratio), int(h * ratio), 0 if ratio <= 1 else 3)
                stem = f"{name}R{level:.4f}"
                files[f"{part}/pyramid/{stem}.png"] = png(zoom)
                side = SIDE_FINER if level > r0 else SIDE
                for i, crop in enumerate(cut(zoom, CROP, side)):
                    files[f"{part}/crops/{stem}_crop{i}.png"] = png(crop)
                    for f in numbers:
                        fine.append(f"{stem}_crop{i}_{f}")
                        files[f"{part}/HR/{stem}_crop{i}_{f}.png"] = png(crop)
                        coarse = resize(crop, int(CROP / s), int(CROP / s), f)
                        files[f"{part}/LR/{stem}_crop{i}_{f}X{s}.png"] = png(coarse)
            for level in last_levels:
                coarse_level = level * s if nm else level / s
                ratio = 1 / (coarse_level / r0) if nm else coarse_level / r0
                zoom = resize(grey[name], int(w * ratio), int(h * ratio), 0)
                stem = f"{name}-bc-R{level:.4f}"
                files[f"{part}/bc_pyramid/{stem}.png"] = png(zoom)
                for i, crop in enumerate(cut(zoom, CROP // s, SIDE_LAST)):
                    files[f"{part}/bc_crops/{stem}_crop{i}.png"] = png(crop)
                    fine.append(f"{stem}_crop{i}_3")
                    files[f"{part}/HR/{stem}_crop{i}_3.png"] = png(resize(crop, CROP // s * s, CROP // s * s, 3))
                    files[f"{part}/LR/{stem}_crop{i}_3X{s}.png"] = png(crop)
        if part == "val":
            every = sorted(f"{name}.png" for name in fine)
            for name in rng.sample(every, min(how.subset, len(every))):
                files[f"val/HR_subset/{name}"] = files[f"val/HR/{name}"]
                lr = f"{name[:-4]}X{s}.png"
                files[f"val/LR_subset/{lr}"] = files[f"val/LR/{lr}"]
    return files


def cut(picture, size, n):
    """All crops, in the published order."""
    if min(picture.shape) < size:
        return []
    down, right = (d if n == 1 else max((d - size) // (n - 1), 1) for d in picture.shape)
    found = []
    x = 0
    while picture.shape[1] - x >= size:
        y = 0
        while picture.shape[0] - y >= size:
            found.append(np.ascontiguousarray(picture[y : y + size, x : x + size]))
            y += down
        x += right
    return found


def on_disk(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("config", "count"), [(MX, 10), (NM, 4)], ids=["MX", "nm"])
def test_every_file_is_that_of_the_published_rules(tmp_path, config, count):
    images = pictures(count)
    written = write_multiscale(images[::-1], tmp_path / "set", config, HOW)
    expected, found = rules(images, config, HOW), on_disk(tmp_path / "set")
    assert sorted(found) == sorted(expected)
    assert [k for k in expected if found[k] != expected[k]] == []
    assert written.pairs == {p: sum(k.startswith(f"{p}/HR/") for k in expected) for p in ("train", "val", "test")}
    assert written.pairs["val"] > 7 and sum("_subset" in k for k in expected) == 14
    if config is MX:  # 75 x 83 px become 26 x 29 at 1.75 MX
        assert "Left out, smaller than a crop of 32 px: " in written.notes[0] and "R1.7500" in written.notes[0]
        assert not any("R1.7500_crop" in k for k in found) and any("pyramid/S00R1.7500" in k for k in found)


def test_all_published_folders_are_there(tmp_path):
    write_multiscale(pictures(3), tmp_path, replace(MX, gamma=()), HOW)
    for part in ("train", "val", "test"):
        names = {p.name for p in (tmp_path / part).iterdir()} - {"HR_subset", "LR_subset"}
        assert names == {"source", "pyramid", "bc_pyramid", "crops", "bc_crops", "HR", "LR"}


def test_more_crops_than_asked_for_only_as_published():
    assert len(crop_starts(77, 64, 8, True)) == 14  # the example of the facts
    assert crop_starts(64, 64, 8, True) == [0] and crop_starts(100, 64, 1, True) == [0]
    ours = crop_starts(77, 64, 8, False)
    assert len(ours) == 8 and ours[0] == 0 and ours[-1] == 13 and len(set(np.diff(ours))) <= 2
    assert crop_starts(66, 64, 8, False) == [0, 1, 2] and crop_starts(63, 64, 8, False) == []


def test_the_number_in_the_name_decides_how_many_crops_only_as_published():
    published, ours = WriteConfig(8, 3, published=True), WriteConfig(8, 3)
    assert published.crops_of("aR31.0000", 24, "nm") == 3  # a larger number, although it is coarser
    assert ours.crops_of("aR31.0000", 24, "nm") == 8 and ours.crops_of("aR14.0000", 24, "nm") == 3
    assert published.crops_of("aR6.0000", 5, "MX") == ours.crops_of("aR6.0000", 5, "MX") == 3
    assert published.crops_of("R2-aR6.0000", 5, "MX") == 8  # the first number in the name
    assert ours.crops_of("R2-aR6.0000", 5, "MX") == 3


def test_the_split_is_pythons_shuffle_of_the_sorted_names():
    names = [f"{k}.png" for k in "dacbefghij"]
    order = sorted(range(10), key=lambda k: names[k])
    random.Random(7).shuffle(order)
    found = split_pictures(names, WriteConfig(seed=7, published=True), "MX", random.Random(7))
    assert [*found["train"], *found["val"], *found["test"]] == order
    assert [len(v) for v in found.values()] == [8, 1, 1]
    given = list(range(10))
    random.Random(7).shuffle(given)
    kept = WriteConfig(seed=7, published=True, published_order=True)
    parts = split_pictures(names, kept, "MX", random.Random(7))
    assert [k for part in parts.values() for k in part] == given


@pytest.mark.parametrize(
    ("count", "published", "unit", "expected"),
    [
        (4, True, "MX", [3, 0, 0]),
        (4, True, "nm", [2, 1, 1]),
        (4, False, "MX", [2, 1, 1]),
        (3, False, "nm", [1, 1, 1]),
        (2, False, "MX", [2, 0, 0]),
        (1, False, "MX", [1, 0, 0]),
        (1, True, "nm", [0, 0, 1]),
        (20, False, "MX", [16, 2, 2]),
    ],
)
def test_how_many_pictures_every_part_gets(count, published, unit, expected):
    names = [f"{k:02d}" for k in range(count)]
    found = split_pictures(names, WriteConfig(published=published), unit, random.Random(0))
    assert [len(v) for v in found.values()] == expected


def test_sixteen_bits_and_pixel_sizes_survive(tmp_path):
    image = pictures(1, dtype=np.uint16)[0]
    written = write_multiscale([image], tmp_path, MX, WriteConfig(3))
    assert written.pairs == {"train": sum(1 for _ in (tmp_path / "train/HR").iterdir()), "val": 0, "test": 0}
    assert "There are too few pictures for val and test" in " ".join(written.notes)
    fine = read(tmp_path / "train/HR/S00R5.0000_crop0_0.png")
    np.testing.assert_array_equal(fine.data, image.data[:32, :32])
    assert fine.dtype == np.uint16 and fine.grid.pixel_size_nm == (0.5, 0.5)
    coarse = read(tmp_path / "train/LR/S00R5.0000_crop0_0X4.png")
    assert coarse.grid.pixel_size_nm == (2.0, 2.0) and np.isin(coarse.data, fine.data).all()
    finer = read(tmp_path / "train/HR/S00R6.0000_crop0_3.png")
    assert finer.grid.pixel_size_nm[0] == pytest.approx(0.5 / 1.2) and len(np.unique(finer.data)) > 800
    # white noise overshoots its range when it is interpolated: clipped, counted and said
    assert written.clipped > 100 and f"{written.clipped} interpolated pixels went beyond" in " ".join(written.notes)


def test_floats_are_written_as_tiff_and_keep_their_fractions(tmp_path):
    grey = np.random.default_rng(0).normal(0, 1e-3, (60, 64)).astype(np.float32)
    grey[3, 4] = np.nan
    image = Image(grey, Grid.of(grey.shape, 0.5), "stm.nid")
    written = write_multiscale([image], tmp_path, MX, WriteConfig(2))
    fine = read(tmp_path / "train/HR/stmR5.0000_crop0_0.tif")
    assert fine.dtype == np.float32 and np.isfinite(fine.data).all()
    np.testing.assert_array_equal(fine.data[10:], grey[10:32, :32])
    assert written.clipped == 0 and "Missing pixels were taken from their neighbours: stm.nid." in written.notes


def test_our_scale_is_the_same_along_both_axes(tmp_path):
    image = pictures(1, (75, 211))[0]
    config = replace(MX, alpha=(), beta=(1.3,), gamma=())
    write_multiscale([image], tmp_path, config, WriteConfig(2))
    zoom = read(tmp_path / "train/pyramid/S00R6.5000.png")
    assert zoom.grid.shape == (97, 274) and zoom.grid.pixel_size_nm == pytest.approx((0.5 / 1.3,) * 2)
    box = (0, 0, 274 / 1.3, 97 / 1.3)
    exact = np.asarray(Pillow.fromarray(image.data.astype(np.float32)).resize((274, 97), 3, box))
    np.testing.assert_array_equal(zoom.data, np.clip(np.rint(exact), 0, 255).astype(np.uint8))


def test_test_parts_have_nearest_neighbours_only(tmp_path):
    write_multiscale(pictures(3), tmp_path, MX, WriteConfig(2))
    kinds = {
        part: {re.search(r"_(\d)\.png$", p.name)[1] for p in (tmp_path / part / "HR").iterdir()}
        for part in ("val", "test")
    }
    assert kinds == {"val": set("012345"), "test": set("03")}  # 3: the interpolated ones


def test_progress_counts_to_its_end(tmp_path):
    seen = []
    write_multiscale(pictures(3), tmp_path, replace(MX, alpha=()), WriteConfig(1), progress=lambda *a: seen.append(a))
    assert seen[0][0] == 0 and seen[-1][:2] == (1, 1) and "S0" in seen[0][2] and "MX" in seen[0][2]


def test_refusals(tmp_path):
    images = pictures(2)
    with pytest.raises(InputError, match=r"8-bit grey levels \(uint8\), but uint16 came"):
        write_multiscale(pictures(3, dtype=np.uint16), tmp_path, MX, HOW)
    with pytest.raises(InputError, match=r"two pictures are called S00\. Rename one of them"):
        write_multiscale([images[0], images[0]], tmp_path, MX)
    with pytest.raises(InputError, match=r"two zoom levels are called 6\. Use more digits"):
        write_multiscale(images, tmp_path, replace(MX, beta=(1.2, 1.21)), WriteConfig(digits=0))
    with pytest.raises(InputError, match=r"S00\.png has 75 x 83 px, but one training crop is 256 x 256 px"):
        write_multiscale(images, tmp_path, replace(MX, crop=None))
    with pytest.raises(InputError, match=r"has no pixel left at 0\.05 MX\. Leave this level out"):
        write_multiscale(pictures(10), tmp_path, replace(MX, alpha=(0.01,)), HOW)
    with pytest.raises(InputError, match="crops_finer must be at least 1, but 0 came"):
        WriteConfig(crops_finer=0)
    with pytest.raises(InputError, match=r"Shares are three numbers .*, but"):
        WriteConfig(shares=(0.8, 0.3, 0.1))
    with pytest.raises(InputError, match="0 to 12 digits"):
        WriteConfig(digits=40)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write_multiscale(images, file, MX)
    assert Path(file).is_file()
