"""A small case and what fills it without a method, for the tests of the race of docs/inpainting.md."""

import numpy as np

from tools.docs.inpainting.cases import Case
from tools.docs.inpainting.race import Filled


def make_case(name="a", group="squares", seed=0):
    random = np.random.default_rng(seed)
    truth = np.repeat(np.repeat(random.integers(0, 256, (8, 8, 3), dtype=np.uint8), 8, 0), 8, 1)
    hole = np.zeros((64, 64), bool)
    hole[30:38, 20:30] = True
    return Case(name, group, f"photograph {name}", truth, hole)


def fake_fill(calls):
    def fill(method, cases, limit):
        if method == "broken":
            raise RuntimeError("broken: it is")
        calls.append((method, [case.name for case in cases]))
        return [Filled(case.seen() // 2 * 2, 2.0, 1.0, 300.0) for case in cases]

    return fill
