"""Filling holes in photographs.

inpaint.py       one function over every method and every kind of picture
pictures.py      pictures of every kind as colour planes and back
structure.py     structure from a network, detail from the photograph itself
exemplar.py      without training: contextual attention to the photograph itself
patchmatch.py    PatchMatch, the reference system
edges.py         edges that end at a hole, joined across it, as a guide
edge_paths.py    edges followed away from a hole
edge_ends.py     what they are like where they end
edge_bands.py    curves drawn as bands
hole_parts.py    the connected parts of a hole
thin.py          scratches and text: every pixel by regression on those around it
blend.py         copies from here and there made one picture
poisson.py       a finished filling joined to its picture
smooth.py        where a picture is smooth, and how its colours slope there
page.py          the web page
malformed.py     calls that the page never makes
"""
