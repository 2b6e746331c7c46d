"""Training: what a run is, and the loop that takes its steps, whatever system it trains.

recipes/        what each system trains by: critics, losses, optimiser, schedule
config.py       every number of a run with its source
presets.py      publications as configurations
checks.py       settings that are refused
settings.py     a configuration as a dict, as text, and changed by name
estimate.py     what a run will be, before it starts
launch.py       one process for each device
feed.py         from a configuration to batches on a device
adversarial.py  Wasserstein with a masked gradient penalty, hinge, cross entropy
losses.py       how far an output is from the photograph
updates.py      what a step consists of, and what is said of it
batch_norm.py   batch normalisation over the samples of all processes
trainer.py      the loop
validation.py   pictures that are never trained on, and the best generator by them
stopping.py     being asked to stop
checkpoint.py   checkpoints, each whole or not there
run_log.py      losses as JSON and for TensorBoard
gallery.py      sample grids
"""
