"""Published checkpoint formats: one file a system, and a new one is one file more.

layout.py        what a format is, and what all of them have in common
deepfill.py      what the formats of Yu et al. share
deepfill_v1.py   Yu et al. 2018: TensorFlow, daa233, mmagic
deepfill_v2.py   Yu et al. 2019: TensorFlow, nipponjo, mmagic, csqiangwen
"""

from . import deepfill_v1, deepfill_v2
from .layout import Layout

# In the order in which a file is asked about: the first that recognises it is its format.
LAYOUTS: tuple[Layout, ...] = (*deepfill_v2.LAYOUTS, *deepfill_v1.LAYOUTS)
