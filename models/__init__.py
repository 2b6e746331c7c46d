"""Networks built around the contextual attention layer, shipped as ``contextual_attention.models``.

Empty for now. Modules here import each other relatively and the layer as ``contextual_attention``; nothing of
the layer imports from here.
"""
