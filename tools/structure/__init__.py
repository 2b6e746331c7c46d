"""What the structure network is trained on, and its training.

photographs.py   the photographs: where each is, whose it is, under which licence; read from photographs.tsv
collect.py       writes them into a folder
train.py         trains for so many minutes, and draws how far that has come
ship.py          puts a trained one into the package
notice.py        the same for those who have the weights: the file NOTICE, the table of docs/weights.md
"""
