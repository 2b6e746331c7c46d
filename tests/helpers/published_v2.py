"""Published checkpoints of version 2 as files, and what their publishers' networks made of a few pictures.

The numbers are those of tests/data: run as published, on random weights.
"""

from __future__ import annotations

import zlib
from ast import literal_eval
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).resolve().parents[1] / "data"

# File of tests/data, and what stands before the keys of its weights.
SOURCES = {
    "yu2019": ("yu2018_v2_net", ""),
    "yu2019 guided": ("yu2018_v2_net", "guided_"),
    "nipponjo-tf": ("nipponjo_v2_net", "nip_tf.sd."),
    "nipponjo": ("nipponjo_v2_net", "nip.sd."),
    "mmagic-v2": ("mmagic_v2_net", "sd."),
    "csqiangwen": ("csqiangwen_v2_net", "sd."),
}
# Its cases, by what stands before the names of their arrays.
CASES = {
    "yu2019": ("p_", "q_"),
    "yu2019 guided": ("g_",),
    "nipponjo-tf": ("nip_tf.a.", "nip_tf.b."),
    "nipponjo": ("nip.a.", "nip.b."),
    "mmagic-v2": ("a.", "b."),
    "csqiangwen": ("a.", "b."),
}
IN_BGR = ("yu2019", "yu2019 guided", "mmagic-v2")


class Case(NamedTuple):
    """One run of a published network, in red, green, blue whatever it is fed with."""

    image: Tensor  # in [-1, 1], ours
    mask: Tensor
    options: dict[str, Tensor]  # the sketch, of a guided network
    coarse: Tensor  # in the publication's range, as is refined
    refined: Tensor


def checkpoint(kind: str) -> dict[str, Tensor]:
    """The weights under the published keys, and all else that such a state dict holds."""
    name, prefix = SOURCES[kind]
    data = np.load(DATA / f"{name}.npz")
    if not kind.startswith("yu2019"):
        return {
            key.removeprefix(prefix): torch.from_numpy(data[key])
            for key in data.files
            if key.startswith(prefix)
        }
    return _drawn(data, prefix, "gain") | _drawn(data, "d_", "d_gain")


def _drawn(data: np.lib.npyio.NpzFile, prefix: str, gain: str) -> dict[str, Tensor]:
    """Variables of TensorFlow that are not stored, but drawn anew."""
    drawn = {}
    for name, shape in zip(map(str, data[f"{prefix}names"]), data[f"{prefix}shapes"], strict=True):
        shape = literal_eval(str(shape))
        random = np.random.RandomState((zlib.crc32(name.encode()) + int(data["salt"])) % 2**32)
        scale = 0.05 if len(shape) == 1 else np.sqrt(data[gain] / np.prod(shape[:-1]))
        drawn[name] = torch.from_numpy((random.randn(*shape) * scale).astype(np.float32))
    return drawn


def write(kind: str, folder: Path, weights: dict[str, Tensor] | None = None) -> Path:
    """The checkpoint in the container that it is published in."""
    weights = checkpoint(kind) if weights is None else weights
    if kind.startswith("yu2019"):
        path = folder / "model.npz"
        np.savez(path, **{f"{name}:0": x.numpy() for name, x in weights.items()}, global_step=np.int64(7))
        return path
    path = folder / "model.pth"
    wrapped: object = weights
    if kind.startswith("nipponjo"):
        critic = {"conv1.conv_sn.weight": torch.zeros(4, 4, 5, 5)}
        wrapped = {"G": weights, "D": critic, "G_optim": {"state": {}, "param_groups": []}, "n_iter": 7}
    elif kind == "mmagic-v2":
        wrapped = {"meta": {"iter": 7, "env": "some text"}, "state_dict": weights}
    torch.save(wrapped, path)
    return path


def case(kind: str, prefix: str) -> Case:
    data = np.load(DATA / f"{SOURCES[kind][0]}.npz")
    found = {name: torch.from_numpy(data[prefix + name]) for name in ("image", "mask", "x1", "x2")}
    if f"{prefix}x2_alone" in data.files:  # each sample with its own mask, which the first's replaces in x2
        found["x2"] = torch.from_numpy(data[f"{prefix}x2_alone"])
    colours = [2, 1, 0] if kind in IN_BGR else [0, 1, 2]
    image, coarse, refined = (found[name][:, colours] for name in ("image", "x1", "x2"))
    options = {"sketch": torch.from_numpy(data[f"{prefix}sketch"]).float()} if kind == "yu2019 guided" else {}
    return Case(image.float() / 127.5 - 1, found["mask"].float(), options, coarse, refined)


def error(kind: str, found: Tensor, expected: Tensor) -> float:
    """Of a whole map of ours, relative to the published one, in its range."""
    found = (found + 1) / 2 if kind == "csqiangwen" else found  # the others have ours
    return float((found - expected).norm() / expected.norm())
