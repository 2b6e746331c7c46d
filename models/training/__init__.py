"""Training by algorithm 1 of Yu et al. 2018.

config.py       every number of a run with its source, and the presets
settings.py     a configuration as a dict, as text, and changed by name
estimate.py     what a run will be, before it starts
launch.py       one process for each device
feed.py         from a configuration to batches on a device
adversarial.py  Wasserstein with a masked gradient penalty, hinge, cross entropy
losses.py       how far an output is from the photograph
updates.py      the terms of both losses, and their weights
trainer.py      the loop
stopping.py     being asked to stop
checkpoint.py   checkpoints, each whole or not there
run_log.py      losses as JSON and for TensorBoard
gallery.py      sample grids
"""
