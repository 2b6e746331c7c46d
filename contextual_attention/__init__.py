"""Exact, differentiable contextual attention (Yu et al. 2018, arXiv:1801.07892), in bounded memory."""

from . import waiting  # isort: skip  # noqa: F401
from .backends import available_backends
from .functional import attention_weights, contextual_attention
from .modules import ContextualAttention
from .options import PRESETS, Options
from .version import find_version
from .visualize import offsets_to_image

__all__ = [
    "PRESETS",
    "ContextualAttention",
    "Options",
    "__version__",
    "attention_weights",
    "available_backends",
    "contextual_attention",
    "offsets_to_image",
]

__version__ = find_version()
