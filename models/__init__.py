"""The inpainting model built around the layer, shipped as ``contextual_attention.models``.

A module for each part, to be imported by name: ``from contextual_attention.models.generator import
InpaintGenerator``. They need ``pip install "contextual_attention[models]"``; `inpaint`, the way in to every
method that fills holes, needs torch alone unless it is given a trained model. Modules here import each other
relatively and the layer as ``contextual_attention``; nothing of the layer imports from here.
"""

from .inpaint import inpaint

__all__ = ["inpaint"]
