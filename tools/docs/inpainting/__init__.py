"""Ways to fill holes in photographs without training, raced: what docs/inpainting.md shows.

photographs.py  three lists of photographs, by package and file
shapes.py       shapes of holes, and where they go
cases.py        holes in the photographs, drawn by seed
methods.py      the ways to fill them: ours, and those of other packages where they are installed
worker.py       runs one of them in a process of its own
race.py         runs them all and measures
kept.py         results of earlier races
measures.py     how good a filled hole is
goals.py        what `exemplar` is meant to reach, and whether it does
page.py         tables and pictures
__main__.py     the command
"""
