"""A minimal writer of OLE2 compound files (version 3, Microsoft's [MS-CFB]), and microscope volumes in them."""

from __future__ import annotations

import struct

import numpy as np

SECTOR, MINI, CUTOFF = 512, 64, 4096
FREE, END, FAT_SECTOR = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def write_ole(path, streams):
    """``{"Storage/Stream": bytes}`` to a file: storages one level deep, small streams in the mini stream."""
    entries = [["Root Entry", 5, FREE, FREE, FREE, END, 0]]
    children = {}
    for name in streams:
        *parents, leaf = name.split("/")
        children.setdefault(parents[0] if parents else "", []).append((leaf, name))
    tops = [(s, None) for s in children if s] + children.get("", [])
    ids = {}

    def add(named):
        for leaf, full in named:
            ids[full or leaf + "/"] = len(entries)
            entries.append([leaf, 2 if full else 1, FREE, FREE, FREE, END if full else 0, len(streams.get(full, b""))])
        return tree(sorted((len(leaf), leaf.upper(), ids[full or leaf + "/"]) for leaf, full in named))

    def tree(nodes):
        if not nodes:
            return FREE
        at = len(nodes) // 2
        own = nodes[at][2]
        entries[own][2], entries[own][3] = tree(nodes[:at]), tree(nodes[at + 1 :])
        return own

    entries[0][4] = add(tops)
    for storage in [s for s in children if s]:
        entries[ids[storage + "/"]][4] = add(children[storage])

    fat, body = [], []

    def store(data):
        """Sectors of a stream; gives the first."""
        if not data:
            return END
        first, count = len(fat), -(-len(data) // SECTOR)
        fat.extend([*range(first + 1, first + count), END])
        body.append(data.ljust(count * SECTOR, b"\0"))
        return first

    mini, mini_fat = b"", []
    for name, data in streams.items():
        if len(data) >= CUTOFF:
            entries[ids[name]][5] = store(data)
        elif data:
            first, count = len(mini_fat), -(-len(data) // MINI)
            mini_fat += [*range(first + 1, first + count), END]
            mini += data.ljust(count * MINI, b"\0")
            entries[ids[name]][5] = first
    entries[0][5], entries[0][6] = store(mini), len(mini)
    packed_mini = struct.pack(f"<{len(mini_fat)}I", *mini_fat)
    mini_start, mini_count = store(packed_mini + b"\xff" * (-len(packed_mini) % SECTOR)), -(-len(packed_mini) // SECTOR)
    directory = store(b"".join(_entry(*e) for e in entries))
    fat_count = 1
    while fat_count * SECTOR // 4 < len(fat) + fat_count:
        fat_count += 1
    assert fat_count <= 109
    fat_at = list(range(len(fat), len(fat) + fat_count))
    fat += [FAT_SECTOR] * fat_count
    fat += [FREE] * (fat_count * SECTOR // 4 - len(fat))
    head = struct.pack(
        "<8s16sHHHHH6xIIIIIIIII",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"", 0x3E, 3, 0xFFFE, 9, 6,
        0, fat_count, directory, 0, CUTOFF, mini_start, mini_count, END, 0,
    )  # fmt: skip
    head += struct.pack("<109I", *fat_at, *[FREE] * (109 - fat_count))
    assert len(head) == SECTOR
    path.write_bytes(head + b"".join(body) + struct.pack(f"<{len(fat)}I", *fat))
    return path


def _entry(name, kind, left, right, child, start, size):
    text = (name + "\0").encode("utf-16-le")
    fields = struct.pack("<64sHBBIII36xIQ", text, len(text), kind, 1, left, right, child, start, size)
    assert len(fields) == 128
    return fields


def microscope_volume(data, *, pixel_um=0.65, position=None, angles=None, code=None, drop=()):
    """Streams of a Zeiss .txm: (z, y, x) slices in storages of 100 and the ImageInfo that readers need."""
    codes = {"uint8": 3, "uint16": 5, "float32": 10}
    depth, height, width = data.shape
    info = {
        "ImageWidth": struct.pack("<i", width),
        "ImageHeight": struct.pack("<i", height),
        "NoOfImages": struct.pack("<i", depth),
        "DataType": struct.pack("<i", codes[data.dtype.name] if code is None else code),
        "PixelSize": struct.pack("<f", pixel_um),
        "OpticalMagnification": struct.pack("<f", 20.0),
    }
    for axis, value in (position or {}).items():
        info[f"{axis}Position"] = np.full(depth, value, "<f4").tobytes()
    if angles is not None:
        info["Angles"] = np.asarray(angles, "<f4").tobytes()
    streams = {f"ImageInfo/{k}": v for k, v in info.items() if k not in drop}
    for z, plane in enumerate(data):
        streams[f"ImageData{z // 100 + 1}/Image{z + 1}"] = plane.astype(plane.dtype.newbyteorder("<")).tobytes()
    return streams
