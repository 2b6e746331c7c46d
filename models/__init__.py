"""Inpainting by the layer, shipped as ``contextual_attention.models``.

network/      the generator and its critics; weights loaded, converted from published ones, exported to ONNX
data/         pictures and where they come from, holes drawn at random, and samples made of both
training/     algorithm 1 of the paper: its configuration, losses and loop, and what a run writes
filling/      `inpaint` and the methods that need no training; the web page in front of them
evaluation/   measures, methods compared on the same holes, and the experiments of Dumont and Guédon

Who may import whom:

    evaluation -> filling, data, network
    training   -> data, network
    filling    -> network, and only where a trained model is asked for

Nothing else: network and data stand on the layer alone, and nothing imports training or evaluation. Of the
layer, its commands alone import from here. tests/test_layout.py holds this.

Modules are imported by name, ``from contextual_attention.models.network.generator import InpaintGenerator``,
and by each other relatively. They need ``pip install "contextual_attention[models]"``; `inpaint`, the way in
to every method that fills holes, needs torch alone unless it is given a trained model.
"""

if __name__ != "contextual_attention.models":  # in a checkout that is on the path
    raise ImportError(f"{__name__!r} is imported as contextual_attention.models")

from .filling.inpaint import inpaint

__all__ = ["inpaint"]
