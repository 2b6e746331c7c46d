"""What the benchmarks beside this folder are made of.

cases       the problems that are measured         forms       what one would write in plain PyTorch
variants    who competes on a problem              judge       whether a result is right
measure     time and memory of a variant           devices     what depends on where tensors live
results     rows, the machine, the JSON file       course      check, time, weigh: a problem's rows
wording     results in words and tables            screen      where these go, and progress
plot        a picture of results                   model       the network with one layer or another
"""
