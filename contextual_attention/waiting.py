"""How the threads of a command wait for each other: asleep, if other programs may want the processors.

Imported first of all, for torch loads what reads it, GNU's OpenMP. By itself a thread that waits looks for
milliseconds whether it may go on. As soon as other programs are busy, a browser for one, it takes these from
the very thread that it waits for. A hole of 12,800 pixels on 2 processors: 0.9 s, beside two busy programs
9 to 28 s; with some microseconds of looking, 1.0 s and 3 s.
"""

import os
import sys

# A trainer has its machine for itself, and an experiment times what others will see.
_SHARING = ("inpaint", "demo")
# Who sets one of these has chosen.
_CHOICES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_LOOKS = "2000"

# While Python looks for what follows -m, sys.argv[0] is "-m"; of the installed script it is its path.
_PROGRAMS = ("-m", "contextual-attention", "contextual-attention.exe")
_shares = len(sys.argv) > 1 and os.path.basename(sys.argv[0]) in _PROGRAMS and sys.argv[1] in _SHARING
if _shares and not any(choice in os.environ for choice in _CHOICES):
    os.environ["GOMP_SPINCOUNT"] = _LOOKS
