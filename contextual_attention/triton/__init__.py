"""The Triton backend: the operator of operators.py for a GPU, imported when it is first used.

windows.py      the windows of the maps that a strip of scores covers
plan.py         how a problem is cut so that its scores fit into the workspace
kernels*.py     what runs on the GPU
launch.py       how that is started
strips.py       the stages that forward and backward share
forward.py      attend
backward.py     attend_backward
operator.py     both under the schema of interface.py
"""
