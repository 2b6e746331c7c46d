"""Filling holes in photographs.

inpaint.py       one function over every method and every kind of picture
pictures.py      pictures of every kind as colour planes and back
exemplar.py      without training: contextual attention to the photograph itself
structure.py     the same, guided by a network that restores structure
patchmatch.py    PatchMatch, the reference system
completion.py    from coarse to fine: what all have in common
scales.py        a picture and its hole at one scale, as what patches are compared by
search.py        the patches most like those that touch the hole, and their votes
rings.py         the first filling of a hole, by the layer where that is affordable
descriptors.py   what the layer compares there: colours and texture around a pixel
edges.py         edges that end at a hole, joined across it, as a guide
edge_paths.py    edges followed away from a hole
edge_ends.py     what they are like where they end
edge_bands.py    curves drawn as bands
hole_parts.py    the connected parts of a hole
thin.py          scratches and text: every pixel by regression on those around it
blend.py         copies from here and there made one picture
poisson.py       a finished filling joined to its picture
smooth.py        where a picture is smooth, and how its colours slope there
native.py        the compiled half, csrc/cpu/filling
blank.py         maps that are mostly zero
page.py          the web page
malformed.py     calls that the page never makes
"""
