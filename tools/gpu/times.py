"""How long the backends take, beside the aims: eager, replayed from a CUDA graph, on the device.

    python -m tools.gpu.times --records FILE --profile FILE [--backend cuda triton] [--limit 85]

A process for each backend, preset, shape and pass, in the order of their worth: what is lost in one is
recorded, and costs none of the others. bfloat16, C = 128, inputs and shapes of bench_attention.py.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tools.gpu import facts, programs
from tools.gpu.isolation import in_child
from tools.gpu.records import OUT_OF_TIME, Records, last_states, read
from tools.gpu.timing.phases import Job, measure_case

STEP = "times"
PRESETS = ("paper", "yu2018")
_ORDER = (
    ("1x1024x1024", "forward"),
    ("16x256x256", "forward"),
    ("1x512x680", "forward"),
    ("1x2048x2048", "forward"),
    ("1x1024x1024", "backward"),
    ("1x512x680", "backward"),
    ("1x4096x4096", "forward"),
)
_QUICK_ORDER = (("2x32x48", "forward"), ("1x64x64", "backward"))
_QUICK_BUDGET = 0.02
# Milliseconds to reach on an H100, of a graph's replay with paper and with yu2018, and of an eager call;
# a backward may take three times as long as the forward.
_AIMS = {
    "16x256x256": (0.12, 0.12, 0.2),
    "1x512x680": (0.18, 0.2, 0.25),
    "1x1024x1024": (1.1, 1.3, None),
    "1x2048x2048": (18.0, 20.0, None),
    "1x4096x4096": (290.0, 330.0, None),
}
_BACKWARD = 3
# A call that keeps the host for so much of its time waits for the host.
_BOUND = 0.9
# Seconds of a case: Triton compiles its kernels in the first ones.
_CASE = 20.0
_LEAST = 3.0
# A backend that hangs in so many cases is left alone: the others need the time.
_MOST_HUNG = 2

Measure = Callable[[Job, Records, Path], None]


def main() -> int:
    parser = programs.parser(__doc__)
    add = parser.add_argument
    add("--profile", type=Path, required=True, help="file for tables of all kernels, to add to")
    add("--backend", nargs="+", default=["cuda", "triton"], metavar="NAME", help="default: cuda triton")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a trial where there is no GPU")
    add("--limit", type=float, default=85.0, metavar="SECONDS", help="for everything; default: 85")
    add("--quick", action="store_true", help="two tiny shapes, few samples")
    arguments = parser.parse_args()
    records = Records(arguments.records, STEP)
    chosen = list(jobs(arguments.backend, arguments.quick))
    return 0 if measure_all(chosen, records, arguments.profile, arguments.limit) else 1


def jobs(backends: Sequence[str], quick: bool) -> Iterator[Job]:
    """In the order of their worth, the first backend's before the others'."""
    order, budget = (_QUICK_ORDER, _QUICK_BUDGET) if quick else (_ORDER, 0.3)
    for backend, (shape, direction), preset in product(backends, order, PRESETS):
        yield Job(backend, preset, shape, direction, budget)


def measure_all(
    chosen: Sequence[Job],
    records: Records,
    profile: Path,
    limit: float,
    measure: Measure = measure_case,
    case_limit: float = _CASE,
) -> bool:
    """Each in a process of its own; whether all were measured and right.

    Args:
        chosen: The cases.
        records: Where to.
        profile: File for the tables of kernels.
        limit: Seconds for everything.
        measure: What is run for each, found by its module and name.
        case_limit: Seconds for each.
    """
    end = time.monotonic() + limit
    hung: Counter[str] = Counter()
    for i, job in enumerate(chosen):
        left = end - time.monotonic()
        if left < min(_LEAST, case_limit):
            return _leave_out(chosen[i:], records, OUT_OF_TIME)
        if hung[job.backend] >= _MOST_HUNG:
            _leave_out([job], records, f"{_MOST_HUNG} cases of {job.backend} have hung")
            continue
        records.add(job.name, "started")
        try:
            why = in_child(measure, job, records, profile, limit=min(case_limit, left))
        except KeyboardInterrupt:
            _finish(job, records, "interrupted")
            return _leave_out(chosen[i + 1 :], records, "interrupted")
        hung[job.backend] += why is not None and "ended after" in why
        _finish(job, records, why)
    last = _last(records)
    return all(last[job.name]["state"] == "measured" for job in chosen)


def _leave_out(left: Sequence[Job], records: Records, why: str) -> bool:
    for job in left:
        records.add(job.name, "left out", why)
    return False


def _finish(job: Job, records: Records, why: str | None) -> None:
    """The last record of a case: with what is derived of its numbers, and a line that tells them."""
    found = _last(records)[job.name]
    told = {name: x for name, x in found.items() if name not in ("step", "what", "state", "why", "time")}
    reasons = [each for each in (why, found.get("why")) if each]
    if why is None and found["state"] == "started":
        reasons.append("its process ended well, but it was not measured")
    told |= derived(told, _card_rate(records))
    text = line(told)
    if text:
        told |= {"line": f"{job.name}: {text}", "kernels": kernel_lines(job.name, told)}
    records.add(job.name, "failed" if reasons else "measured", "; ".join(reasons) or None, **told)
    print(f"{job.name}: {'; '.join(filter(None, [text, *reasons]))}", flush=True)


def _last(records: Records) -> dict[str, dict[str, Any]]:
    found = last_states(read(records.path))
    return {what: record for (step, what), record in found.items() if step == records.step}


def _card_rate(records: Records) -> float | None:
    """TFLOP/s of a bf16 product, where the step before has measured it."""
    found = last_states(read(records.path)).get(("facts", facts.PRODUCT), {})
    return found.get("tflops")


def derived(told: dict[str, Any], card: float | None) -> dict[str, Any]:
    """What follows from a case's numbers: aims, and the rates, of a replay where there is one."""
    found: dict[str, Any] = {}
    aims = aim(told)
    if aims is not None:
        found["aim_graph_ms"], found["aim_eager_ms"] = aims
    if "host_ms" in told and "eager_ms" in told:
        found["host_bound"] = told["host_ms"] > _BOUND * told["eager_ms"]["median"]
    times = [told[name]["median"] for name in ("graph_ms", "eager_ms") if name in told]
    # A backward's by graphs is a difference, and might come out as nothing.
    times = [each for each in times if each > 0]
    if not times:
        return found
    seconds = times[0] / 1e3
    found["ps_a_score"] = float(f"{1e12 * seconds / told['pairs']:.3g}")
    found["tflops"] = float(f"{told['flop'] / seconds / 1e12:.3g}")
    if card:
        found["share_of_card"] = float(f"{found['tflops'] / card:.3g}")
    return found


def aim(told: dict[str, Any]) -> tuple[float, float] | None:
    """Milliseconds to reach, of a replay and of an eager call; None: there is no aim for this case."""
    if told.get("shape") not in _AIMS or told["preset"] not in PRESETS:
        return None
    paper, yu2018, eager = _AIMS[told["shape"]]
    factor = 1 if told["direction"] == "forward" else _BACKWARD
    graph = factor * (paper if told["preset"] == "paper" else yu2018)
    return round(graph, 3), graph if eager is None else round(factor * eager, 3)


def line(told: dict[str, Any]) -> str:
    """The numbers of a case, for the digest: what is not known of it is left out."""
    parts = []
    if told.get("wrong"):
        parts.append("WRONG")
    titles = ("graph", "eager", "in_memory", "on_chip")
    for name, title in ((f"{title}_ms", title.replace("_", " ")) for title in titles):
        if name in told:
            target = told.get(f"aim_{name}")
            parts.append(f"{title} {told[name]['median']:.3g}" + (f" aim {target:g}" if target else ""))
    if "device_ms" in told:
        parts.append(f"device {told['device_ms']:.3g} in {told['launches']:g}, gaps {told['gap_ms']:.2g}")
    if "host_ms" in told:
        bound = "-bound" if told.get("host_bound") else ""
        parts.append(f"host{bound} {told['host_ms']:.3g} ms")
    if "ps_a_score" in told:
        share = f" {100 * told['share_of_card']:.0f} %" if "share_of_card" in told else ""
        parts.append(f"{told['ps_a_score']:g} ps{share}")
    if "working_bytes" in told:
        parts.append(f"{told['working_bytes'] / 2**20:.0f} MiB")
    if "differs" in told:
        parts.append(f"differs by {told['differs']:.1e}")
    if "errors" in told:
        parts.append(f"err {max(map(float, told['errors'])):.1e}".replace("e-0", "e-"))
    return ", ".join(parts)


def kernel_lines(name: str, told: dict[str, Any]) -> list[str]:
    """The longest kernels of a case in a line; the whole table is in the file of profiles."""
    top = told.get("top", ())[:3]
    if not top:
        return []
    return [
        f"{name}: " + ", ".join(f"{each['ms']:g} {each['calls']:g}x {each['kernel'][:36]}" for each in top)
    ]


if __name__ == "__main__":
    sys.exit(main())
