"""Networks built around the contextual attention layer, shipped as ``contextual_attention.models``.

A module for each part; `inpaint` is the way in to all methods that fill holes. Modules here import each other
relatively and the layer as ``contextual_attention``; nothing of the layer imports from here.
"""

from .inpaint import inpaint

__all__ = ["inpaint"]
