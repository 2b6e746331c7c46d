"""The Triton backend: the operator of operators.py for a GPU, imported when it is first used.

windows.py              the windows of the maps that a strip of scores covers
plan.py                 how a problem is cut so that its scores fit into the workspace
kernels_windows.py      what runs on the GPU: windows as kernels take them, and positions in them
kernels.py              sums along diagonals, and the softmax's exponentials
kernels_reductions.py   one number for a row: from its parts, and its largest score
kernels_backward.py     what only the backward has
launch.py               how kernels are started
strips.py               the stages that forward and backward share
forward.py              attend
backward.py             attend_backward
operator.py             both under the schema of interface.py
"""
