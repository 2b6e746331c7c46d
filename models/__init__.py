"""Inpainting by the layer, shipped as ``contextual_attention.models``.

patches/      holes filled with patches of the picture around them: search and vote, from coarse to fine
network/      inpainting networks and their critics; weights loaded, converted from published ones, exported
data/         pictures and where they come from, holes drawn at random, and samples made of both
training/     recipes of every system, presets, the loop that takes their steps, and what a run writes
filling/      `inpaint` and the methods that need no training; the web page in front of them
evaluation/   measures, methods compared on the same holes, and the experiments of Dumont and Guédon

Who may import whom:

    evaluation -> filling, data, network
    training   -> data, network
    filling    -> network, patches; network only where a method asks for one
    network    -> patches

Nothing else: patches and data stand on the layer alone, and nothing imports training or evaluation. Of the
layer, its commands alone import from here. tests/test_layout.py holds this.

``from contextual_attention.models import InpaintGenerator, inpaint`` loads what it names and no more, as it
does of every other network, and of `load_model`. Other modules are imported by their own names,
``contextual_attention.models.network.critics``, and by each other relatively. They need
``pip install "contextual_attention[models]"``; `inpaint`, the way in to every method that fills holes, needs
them for its methods "structure" and "model", and for the others torch alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if __name__ != "contextual_attention.models":  # in a checkout that is on the path
    raise ImportError(f"{__name__!r} is imported as contextual_attention.models")

if TYPE_CHECKING:
    from .filling.inpaint import inpaint
    from .network.context_encoder import ContextEncoder
    from .network.generator import InpaintGenerator
    from .network.iizuka import CompletionNetwork
    from .network.pretrained import load_model
    from .network.structure import StructureNetwork

__all__ = [
    "CompletionNetwork",
    "ContextEncoder",
    "InpaintGenerator",
    "StructureNetwork",
    "inpaint",
    "load_model",
]

_MODULES = {
    "CompletionNetwork": "network.iizuka",
    "ContextEncoder": "network.context_encoder",
    "InpaintGenerator": "network.generator",
    "StructureNetwork": "network.structure",
    "inpaint": "filling.inpaint",
    "load_model": "network.pretrained",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
