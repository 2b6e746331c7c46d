"""What several tests share.

How results are judged:
    compare             how two of them are compared, and how far apart they may be
    oracle              contextual attention by brute force, for maps of a few pixels
    published           the published generators once more, and checkpoints of their formats
    published_v2        version 2's checkpoints, and what the published networks made of a few pictures
    features_alike      the kernels around the operator against the tensor code
    footprint           what a GPU's backend must hold, derived; what a process has held, counted
    cut_problems        problems that the GPU's backends cut, and in how little workspace

What they are computed by:
    roads               the ways through the fused backends that this machine has
    emulated            the CUDA pipeline on the host; emulated_build compiles it
    triton_interpreted  the Triton backend in Triton's interpreter: tests that test_triton.py runs
    aot_triton          the Triton kernels compiled ahead of time, without a GPU
    cpu_hooks           the CPU's kernels, their work counted, their products disturbed
    perturbed           torch's batched products, disturbed
    native_build        compiles tests/native

What commands and training are given, and what they leave:
    command_line        pictures that commands write, and what they say when they refuse
    striped             a photograph that can be restored exactly
    networks            images and holes for networks; a small structure network
    damage              files damaged at random
    runs                small training runs
    layouts             small folders in the layouts of published data sets
    qt_resources        Qt resource files
    terminals           a terminal, and what is left on its screen
    browser             a visitor of the web page
    typed_use           a user's typed code, for mypy
"""
