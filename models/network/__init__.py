"""Inpainting networks, and their weights.

faces.py        what every network takes and returns
layers.py       the convolution, gated or not, padded by reflection, as TensorFlow does or with zeros
generator.py    the generator of Yu et al.: a coarse network, and one that refines by attention
generator_config.py which of their two versions and all published variants it is
critics.py      its global and its local critic
normalised.py   the convolution of the networks before it: normalised over the batch
iizuka.py       the completion network of Iizuka et al.
context_encoder.py the context encoder of Pathak et al., for images of any size
windows.py      square windows around holes, for a network of one size
checks.py       what their configurations check
weight_files.py files of named tensors, from anywhere, read within their own size
torch7_files.py those of Torch7
folders.py      networks saved as folders, checked before memory is taken for them
systems.py      the kinds of network by name
pretrained.py   trained networks from where they are: a run, a folder, a repository
convert.py      published checkpoints into ours; their formats are those of layouts/
export.py       the generator as an ONNX file
"""
