"""The inpainting systems, by the name that config.json of a folder has for them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .context_encoder import ContextEncoder
from .folders import FolderOfWeights
from .generator import InpaintGenerator
from .iizuka import CompletionNetwork
from .structure import StructureNetwork

SYSTEMS: Mapping[str, type[FolderOfWeights]] = MappingProxyType(
    {
        network.system: network
        for network in (InpaintGenerator, CompletionNetwork, ContextEncoder, StructureNetwork)
    }
)
# Of folders that were written before there was another.
FIRST = InpaintGenerator.system
