"""The networks of Yu et al. 2018, and their weights.

layers.py       the convolution, padded by reflection, as TensorFlow does or with zeros
generator.py    the inpainting generator: a coarse network, and one that refines by attention
critics.py      the global and the local critic
patch_critic.py a critic of many neighbourhoods with spectral norm, of Yu et al. 2019
iizuka_critics.py the critics of Iizuka et al. 2017, joined into one score
context_encoder_critic.py the critic of Pathak et al. 2016
weight_files.py files of named tensors, from anywhere, read within their own size
folders.py      networks saved as folders, checked before memory is taken for them
pretrained.py   trained generators from where they are: a run, a folder, a repository
layouts.py      how published implementations name and store the generator's layers
convert.py      published checkpoints into ours
export.py       the generator as an ONNX file
"""
