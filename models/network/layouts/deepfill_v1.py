"""How the published implementations of Yu et al. 2018 name and store the generator's layers.

Facts, read from their code: github.com/JiahuiYu/generative_inpainting (branch v1.0.0, inpaint_model.py and
inpaint_ops.py), github.com/daa233/generative-inpainting-pytorch (model/networks.py) and
github.com/open-mmlab/mmagic (models/editors/deepfillv1, deepfillv2/two_stage_encoder_decoder.py and
configs/_base_/models/base_deepfillv1.py).
"""

from __future__ import annotations

from types import MappingProxyType

from .deepfill import AFTER_ATTENTION, DILATED, ENCODER, GeneratorLayout, mmagic_layers, yu_layers
from .layout import Layout


def _daa233_layers() -> tuple[str, ...]:
    decoder = tuple(f"conv{number}" for number in range(11, 18))
    coarse = (*ENCODER, *DILATED, *decoder)
    fine = (
        *ENCODER, *DILATED,
        *(f"pm{name}" for name in (*ENCODER, *AFTER_ATTENTION)),
        *(f"all{name}" for name in decoder),
    )  # fmt: skip
    return (
        *(f"coarse_generator.{name}" for name in coarse),
        *(f"fine_generator.{name}" for name in fine),
    )


LAYOUTS: tuple[Layout, ...] = (
    GeneratorLayout(
        name="yu2018",
        example="inpaint_net/conv1/kernel",
        licence="CC BY-NC 4.0: not for commercial use",
        origin="github.com/JiahuiYu/generative_inpainting, version 1",
        prefixes=("inpaint_net/",),
        layers=yu_layers(scope="{0}/{0}_conv"),
        weight="/kernel",
        bias="/bias",
        is_hwio=True,
        is_bgr=True,  # its images come from cv2.imread
        options=MappingProxyType({"padding": "same", "attention": "yu2018"}),
    ),
    GeneratorLayout(
        name="daa233",
        example="coarse_generator.conv1.conv.weight",
        licence="of the project MIT; weights converted from the authors' are CC BY-NC 4.0",
        origin="github.com/daa233/generative-inpainting-pytorch",
        prefixes=("", "netG."),
        layers=_daa233_layers(),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        is_bgr=False,
        options=MappingProxyType({"padding": "zero", "attention": "daa233"}),
    ),
    GeneratorLayout(
        name="mmagic",
        example="generator.stage1.encoder.enc1.conv.weight",
        licence="Apache-2.0",
        origin="github.com/open-mmlab/mmagic, DeepFillv1",
        prefixes=("generator.", ""),
        layers=mmagic_layers(),
        weight=".conv.weight",
        bias=".conv.bias",
        is_hwio=False,
        is_bgr=True,
        options=MappingProxyType({"padding": "mirror", "attention": "mmagic", "attention_activation": "elu"}),
    ),
)
