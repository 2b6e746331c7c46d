"""Ways to fill holes in photographs that need no model, raced: what docs/inpainting.md shows.

photographs.py  three lists of photographs
shapes.py       shapes of holes
outlines.py     those of things that are removed from photographs
places.py       where in a photograph holes go
cases.py        holes in the photographs, drawn by seed
methods.py      the ways to fill them: ours, and those of other packages where they are installed
worker.py       runs one of them in a process of its own
race.py         runs them all and measures
kept.py         results of earlier races
measures.py     how good a filled hole is
goals.py        what `structure` and `exemplar` are meant to reach, and whether they do
page.py         tables and pictures
__main__.py     the command
"""
