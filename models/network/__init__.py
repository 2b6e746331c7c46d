"""Inpainting networks, and their weights.

faces.py                   what every network takes and returns
checks.py                  what their configurations check
layers.py                  the convolution of Yu et al., gated or not, of any padding
generator.py               their generator: a coarse network, and one that refines by attention
generator_config.py        which of their two versions and all published variants it is
normalised.py              the convolution of the networks before them, normalised over the batch
iizuka.py                  the completion network of Iizuka et al.
context_encoder.py         the context encoder of Pathak et al., for images of any size
context_encoder_config.py  which of theirs it is
structure.py               structure at a low resolution, and how sure it is: this package's own
drafts.py                  quick fillings with patches, which the structure network sees
windows.py                 square windows around holes, for a network of one size

critics.py                 the global and the local critic of Yu et al. 2018
patch_critic.py            the critic of Yu et al. 2019: many scores, spectral norm
iizuka_critics.py          the critics of Iizuka et al., joined into one score
context_encoder_critic.py  the critic of Pathak et al.

systems.py                 the kinds of network by name
folders.py                 networks saved as folders, checked before memory is taken for them
pretrained.py              trained networks from where they are: a run, a folder, a repository
shipped.py                 those that come with the package, in weights/
weight_files.py            files of named tensors, from anywhere, read within their own size
torch7_files.py            those of Torch7
convert.py                 published checkpoints into ours; their formats are those of layouts/
export.py                  a network as an ONNX file
"""
