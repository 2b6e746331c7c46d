"""Published checkpoint formats: one file a system, and a new one is one file more.

layout.py        what a format is, and what all of them have in common
deepfill.py      what the formats of Yu et al. share
deepfill_v1.py   Yu et al. 2018: TensorFlow, daa233, mmagic
deepfill_v2.py   Yu et al. 2019: TensorFlow, nipponjo, mmagic, csqiangwen
normalised.py    the layers of networks of convolutions and batch norms
iizuka.py        Iizuka et al. 2017: Torch7 and what is converted from it, otenim, mmagic
context_encoder.py Pathak et al. 2016: Torch7, BoyuanJiang
"""

from . import context_encoder, deepfill_v1, deepfill_v2, iizuka
from .layout import Layout

# In the order in which a file is asked about: the first that recognises it is its format.
LAYOUTS: tuple[Layout, ...] = (
    *deepfill_v2.LAYOUTS,
    *deepfill_v1.LAYOUTS,
    *iizuka.LAYOUTS,
    *context_encoder.LAYOUTS,
)
