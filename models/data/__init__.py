"""Pictures, holes, and training samples made of both.

sources.py       where pictures come from: files, a data set, or a procedural set
recognising.py   which published data set a folder holds
data_sets.py     what a data set is: splits, the pictures of each, what is missing
folder_sets.py   Places2 and ImageNet
list_sets.py     CelebA, CelebA-HQ and DTD
listing.py       folders of millions of pictures
dead_leaves.py   procedural pictures: shapes that cover each other
scenes/          procedural pictures: simplified photographs
bundled.py       the photographs that come with scikit-image and scikit-learn
draws.py         single random numbers
mask_kinds.py    every kind of hole by its name
masks.py         holes: boxes, free-form strokes, files of a folder
varied.py        holes as people have them: boxes, objects, strokes
outlines.py      outlines of objects, and what is within them
published_masks.py   holes of other publications' code, pixel by pixel
regions.py       holes of Context Encoders
discount.py      how much each pixel of a hole counts
augment.py       crops turned, brighter, of other colours
samples.py       crops with a hole each, in an order that can be taken up again anywhere
echo.py          samples that are used several times, turned and mirrored
"""
