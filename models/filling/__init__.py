"""Filling holes in photographs.

inpaint.py       one function over every method and every kind of picture
pictures.py      pictures of every kind as colour planes and back
exemplar.py      without training: contextual attention to the photograph itself
descriptors.py   what that compares: colours and texture around a pixel
tiles.py         attention near what a coarser scale has found
blend.py         copies from here and there made one picture
edges.py         edges that end at a hole, joined across it, as a guide
edge_paths.py    edges followed away from a hole
edge_ends.py     what they are like where they end
edge_bands.py    curves drawn as bands
hole_parts.py    the connected parts of a hole
patchmatch.py    PatchMatch, the reference system
pyramid.py       smaller versions of a picture with a hole, for both
page.py          the web page
malformed.py     calls that the page never makes
"""
