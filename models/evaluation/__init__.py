"""How well holes are filled, and what that depends on.

metrics.py       the measures of the paper's table 1, and SSIM
evaluate.py      methods compared on the same pictures and holes
experiments.py   of Dumont and Guédon: size of the hole, texture around it, content repeated elsewhere
artifacts.py     whether the same goes wrong in other photographs
figures.py       their figures: labelled rows of pictures
tables.py        their tables: means over photographs, Markdown
"""
