"""A system that is added as docs/architecture.md says goes through every command with no other change."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from helpers.command_line import pixels
from PIL import Image
from torch import nn

from contextual_attention.cli import main
from contextual_attention.models import inpaint, load_model
from contextual_attention.models.network import convert, pretrained
from contextual_attention.models.network.faces import Inpainted, check_image, missing_of
from contextual_attention.models.network.folders import FolderOfWeights
from contextual_attention.models.network.layouts.layout import Layout, Weights, assemble
from contextual_attention.models.training import config, presets, recipes, settings
from contextual_attention.models.training.config import DataConfig, MaskConfig, TrainConfig
from contextual_attention.models.training.losses import discounted_l1
from contextual_attention.models.training.recipes.base import Recipe, hole_l1
from contextual_attention.models.training.recipes.optimisers import AdamConfig
from contextual_attention.models.training.updates import Phase, Update

# One file of layers


@dataclass(frozen=True)
class TinyConfig:
    cnum: int = 4


class Tiny(nn.Module, FolderOfWeights):
    Config = TinyConfig
    system = "tiny"

    def __init__(self, base: TinyConfig | None = None, /, **options: Any) -> None:
        super().__init__()
        self.config = replace(TinyConfig() if base is None else base, **options)
        self.first = nn.Conv2d(4, self.config.cnum, 5, padding=2)
        self.last = nn.Conv2d(self.config.cnum, 3, 5, padding=2)

    def forward(self, image: torch.Tensor, mask: torch.Tensor) -> Inpainted:
        check_image(image, 1)
        missing = missing_of(mask, image)
        seen = torch.cat((image.masked_fill(missing, 0), missing.to(image.dtype)), 1)
        refined = self.last(self.first(seen).relu()).tanh()
        return Inpainted(None, refined, torch.where(missing, refined, image))


# One of its published format


class TinyLayout(Layout):
    def prefix_in(self, weights: Weights) -> str | None:
        return "" if "tiny.in" in weights else None

    def build(self, weights: Weights, given: Mapping[str, Any]) -> FolderOfWeights:
        made = TinyConfig(cnum=(weights.shape("tiny.in") or (0,))[0])
        names = {"first.weight": "in", "first.bias": "in_b", "last.weight": "out", "last.bias": "out_b"}
        tensors = {own: (f"tiny.{name}", weights.tensor(f"tiny.{name}")) for own, name in names.items()}
        return assemble(lambda: Tiny(made), tensors, weights.path)


LAYOUT = TinyLayout(name="tiny", origin="nowhere", licence="Apache-2.0", example="tiny.in")


# One of its training, and a preset


@dataclass(frozen=True)
class NoCritics:
    """Nothing to set."""


@dataclass(frozen=True)
class TinyLoss:
    l1: float = 1.0


class TinyRecipe(Recipe):
    network = Tiny
    critics = NoCritics
    loss = TinyLoss
    optimiser = AdamConfig

    def make_critics(self) -> nn.Module:
        return nn.Linear(1, 1)  # an optimiser takes no empty list

    def phases(self) -> tuple[Phase, ...]:
        return (Phase((Update("generator", _terms, {"l1": self.config.loss.l1, "hole_l1": 0.0}),)),)


def _terms(network: Tiny, _critics: nn.Module, sample: Any) -> dict[str, torch.Tensor]:
    result = network(sample.image, sample.mask)
    l1 = discounted_l1(result.refined, sample.image, sample.mask)
    return {"l1": l1, "hole_l1": hole_l1(sample, result.refined)}


def _preset() -> TrainConfig:
    return TrainConfig(
        recipe="tiny",
        data=DataConfig(size=32, pictures=8, workers=0),
        masks=MaskConfig(box=12),
        generator=TinyConfig(),
        critics=NoCritics(),
        loss=TinyLoss(),
        optimiser=AdamConfig(learning_rate=1e-2, batch=4),
        steps=40,
        save_every=20,
        show_every=20,
    )


def _with(mapping: Mapping[str, Any], **more: Any) -> Mapping[str, Any]:
    return MappingProxyType({**mapping, **more})


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The four tables of the package, each with the new system in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pretrained, "SYSTEMS", _with(pretrained.SYSTEMS, tiny=Tiny))
    monkeypatch.setattr(convert, "LAYOUTS", (*convert.LAYOUTS, LAYOUT))
    known = _with(recipes.RECIPES, tiny=TinyRecipe)
    for module in (recipes, config, settings):
        monkeypatch.setattr(module, "RECIPES", known)
    monkeypatch.setattr(presets, "PRESETS", _with(presets.PRESETS, tiny=_preset()))


def _photo() -> np.ndarray:
    """photo.png and mask.png."""
    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3), np.uint8)
    mask = np.zeros((37, 51), np.uint8)
    mask[10:20, 15:30] = 255
    Image.fromarray(image).save("photo.png")
    Image.fromarray(mask).save("mask.png")
    return mask > 0


def _run(*words: Iterable[str]) -> None:
    assert main([*words]) == 0


def test_published_weights_are_converted_and_used():
    network = Tiny(cnum=6)
    published = {
        "tiny.in": network.first.weight, "tiny.in_b": network.first.bias,
        "tiny.out": network.last.weight, "tiny.out_b": network.last.bias,
    }  # fmt: skip
    torch.save(published, "tiny.pth")
    _run("convert", "tiny.pth", "folder")
    assert json.loads(Path("folder/config.json").read_text()) == {"system": "tiny", "cnum": 6}
    assert json.loads(Path("folder/origin.json").read_text())["licence"] == "Apache-2.0"
    loaded = load_model("folder")
    assert type(loaded) is Tiny
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), network.parameters(), strict=True))
    mask = _photo()
    _run("inpaint", "photo.png", "mask.png", "-o", "out.png", "--method", "model", "--model", "folder")
    expected = inpaint(pixels("photo.png"), mask, "model", model=network)
    assert np.array_equal(pixels("out.png"), expected)


def test_it_is_trained_resumed_and_evaluated(capsys):
    _run("train", "--preset", "tiny", "--out", "run", "--steps", "20", "--accelerator", "cpu")
    _run("train", "--resume", "--steps", "40", "--out", "run", "--accelerator", "cpu")
    steps = [json.loads(line) for line in Path("run/losses.jsonl").read_text().splitlines()]
    assert [each["step"] for each in steps] == list(range(1, 41))
    assert steps[0].keys() >= {"l1", "hole_l1"}
    trained = load_model("run")
    assert type(trained) is Tiny
    assert trained.last.bias.abs().max() > 1e-3
    capsys.readouterr()
    options = ("--data", "procedural:1", "--size", "32", "--limit", "4", "--box", "12")
    _run("evaluate", *options, "--model", "run", "--method", "mean")
    assert "| run | all |" in capsys.readouterr().out
    _run("train", "--preset", "tiny", "--out", "other", "--dry-run")
    assert "loss.l1 = 1.0" in capsys.readouterr().out
