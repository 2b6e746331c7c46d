"""Exact, differentiable contextual attention (Yu et al. 2018, arXiv:1801.07892), in bounded memory."""

from .backends import available_backends
from .functional import attention_weights, contextual_attention
from .modules import ContextualAttention
from .visualize import offsets_to_image

__all__ = [
    "ContextualAttention",
    "attention_weights",
    "available_backends",
    "contextual_attention",
    "offsets_to_image",
]
