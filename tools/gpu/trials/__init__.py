"""The smoke step's small cases: what they are, how they run, and which stage is wrong of one that fails."""

import time

# By time.monotonic(), before torch is imported, which takes seconds from a cold disk.
START = time.monotonic()
