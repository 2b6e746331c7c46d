"""Holes filled with patches of the picture around them: what every method and the structure network share.

completion.py    from coarse to fine: what all methods have in common
scales.py        a picture and its hole at one scale, as what patches are compared by
search.py        the patches most like those that touch the hole, and their votes
rings.py         the first filling of a hole, by the layer where that is affordable
descriptors.py   what the layer compares there: colours and texture around a pixel
pyramid.py       smaller versions of a picture with a hole, and smooth fillings
native.py        the compiled half, csrc/cpu/filling
blank.py         maps that are mostly zero
"""
