"""Packs decoded on the host in numpy: what the decoder in the program is compared with."""

import numpy as np

from hydraopt.packing import Layout
from hydraopt.packing.codec import TRELLIS_BITS, step_table
from hydraopt.packing.layout import Section
from hydraopt.packing.trellis import tables


def numpy_decode(layout: Layout, shared: np.ndarray, task: np.ndarray) -> list[np.ndarray]:
    """All sections' vectors, ``[n, length]`` each, of two payloads."""
    return [
        _values(section, payload)
        for payload, sections in ((shared, layout.shared), (task, layout.task))
        for section in sections
    ]


def _values(section: Section, payload: np.ndarray) -> np.ndarray:
    codes = payload[section.offset : section.steps].reshape(-1, section.width)
    if section.bits in TRELLIS_BITS:
        current, previous = (table.numpy() for table in tables(section.bits))
        values = np.take(current, codes, axis=0)
        values += np.take(previous, np.roll(codes, 1, axis=1), axis=0)
        values = values.reshape(len(codes), -1)[:, : section.length]
    elif section.bits == 8:
        values = codes.astype(np.float32) - 127.5
    else:
        values = codes[:, : section.length] * np.float32(256)
        values += codes[:, section.length :] - np.float32(32767.5)
    steps = step_table().numpy()[payload[section.steps : section.end], 0]
    return values * (steps * [vector.top for vector in section.vectors])[:, None].astype(np.float32)
