"""Commands for those who work on this package; none of it is installed.

gpu/         a session on a machine with a GPU
docs/        makers of what docs/ shows: tables, pictures
structure/   the photographs that the structure network is trained on, and its training
"""
