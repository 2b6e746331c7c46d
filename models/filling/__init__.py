"""Filling holes in photographs.

inpaint.py       one function over every method and every kind of picture
pictures.py      pictures of every kind as colour planes and back
exemplar.py      without training: contextual attention to the photograph itself
thin.py          scratches, text and dust: regression on the pixels around them
descriptors.py   what that compares: colours and texture around a pixel
tiles.py         attention near what a coarser scale has found
blend.py         copies from here and there made one picture
patchmatch.py    PatchMatch, the reference system
pyramid.py       smaller versions of a picture with a hole, for both
page.py          the web page
malformed.py     calls that the page never makes
"""
