"""The benchmark's cases under pytest-benchmark: `pytest benchmarks/`, or some of them by `-k "512x680"`.

What does not fit into the memory of this machine is skipped and says what it would need; a wrong result
fails. The slow forms are timed three times.
"""

from functools import lru_cache

import pytest
import torch

from attention_bench.cases import CASES, Problem
from attention_bench.course import checked, obstacle
from attention_bench.judge import Judge
from attention_bench.measure import SLOW
from attention_bench.results import Row
from attention_bench.variants import FORMS, variants_for
from attention_bench.wording import problem_text
from contextual_attention import available_backends

USABLE = [name for name, reason in available_backends().items() if reason is None]


def _everything():
    for case in CASES.values():
        for direction in ("forward", "both"):
            if direction in case.passes:
                problem = Problem(case, case.channels[0], torch.float32, "paper", "cpu", direction)
                for variant in variants_for(problem, USABLE, FORMS):
                    yield pytest.param(problem, variant, id=f"{case.name}-{direction}-{variant.label}")


@lru_cache(maxsize=2)
def _judge(problem):
    torch.compiler.reset()
    return Judge(problem)


@pytest.mark.parametrize(("problem", "variant"), list(_everything()))
def test_attention(benchmark, problem, variant):
    reason = obstacle(variant, problem)
    if reason is not None:
        pytest.skip(reason)
    run, seconds, verdict = checked(variant, problem, _judge(variant.problem(problem)))
    assert not verdict.wrong, str(verdict)
    row = Row.of(problem, variant)
    benchmark.group = problem_text(row)
    benchmark.extra_info.update(flop=row.flop, judge=verdict.judge, errors=verdict.errors)
    if seconds < SLOW:
        benchmark(run.once)
    else:
        benchmark.pedantic(run.once, rounds=3)
