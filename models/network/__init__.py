"""Inpainting networks, and their weights.

faces.py        what every network takes and returns
layers.py       the convolution, padded by reflection, as TensorFlow does or with zeros
generator.py    the generator of Yu et al.: a coarse network, and one that refines by attention
critics.py      its global and its local critic
weight_files.py files of named tensors, from anywhere, read within their own size
folders.py      networks saved as folders, checked before memory is taken for them
systems.py      the kinds of network by name
pretrained.py   trained networks from where they are: a run, a folder, a repository
convert.py      published checkpoints into ours; their formats are those of layouts/
export.py       the generator as an ONNX file
"""
