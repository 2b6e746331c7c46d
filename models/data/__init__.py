"""Pictures, holes, and training samples made of both.

sources.py       where pictures come from: files, a Hugging Face dataset, or the procedural set
dead_leaves.py   the procedural set
bundled.py       the photographs that come with scikit-image and scikit-learn
masks.py         holes: boxes, free-form strokes, files of a folder
published_masks.py   holes of other publications' code, pixel by pixel
regions.py       holes of Context Encoders
mask_kinds.py    every kind of hole by its name
discount.py      how much each pixel of a hole counts
samples.py       crops with a hole each, in an order that can be taken up again anywhere
"""
