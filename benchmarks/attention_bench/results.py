"""Rows of results, the machine that they are of, and the JSON file that holds both."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from contextual_attention import backends
from contextual_attention.files import replace_file

from . import devices
from .cases import Problem
from .variants import Variant, name_of

AnyRow = TypeVar("AnyRow")

ROOT = Path(__file__).resolve().parents[2]


class Sampled:
    """A row with `seconds` of a call, every sample, their `median` and `spread`."""

    def take(self, seconds: Sequence[float]) -> None:
        self.seconds = [float(f"{x:.4g}") for x in seconds]
        self.median, self.spread = statistics.median(seconds), None
        if len(seconds) > 1:
            low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
            self.spread = (high - low) / 2 / middle


def circumstances() -> dict[str, Any]:
    """What else rows say of when they were measured: load, commit and date."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"load": os.getloadavg()[0], "commit": commit(), "date": now}


@dataclass
class Row(Sampled):
    """One variant on one problem in one pass; None where something was not measured, and `note` says why."""

    shape: str
    batch: int
    channels: int
    features: Sequence[int]  # height, width
    image: Sequence[int] | None
    hole: Sequence[int] | None
    dtype: str
    direction: str  # forward, backward or both
    preset: str
    device: str
    threads: int
    variant: str
    label: str
    whole: bool  # without the problem's foreground_mask
    pairs: int  # scores that this variant is asked for
    flop: int  # of the factored form for them
    textbook_flop: int  # of the form with patches
    estimated_bytes: int
    seconds: list[float] = field(default_factory=list)  # of a call, every sample
    median: float | None = None
    spread: float | None = None  # half the distance of the quartiles, over the median
    working_bytes: int | None = None
    gflops: float | None = None  # of the factored form
    gemm_gflops: float | None = None  # of a square product in this dtype, in the same turns
    gemm_side: int | None = None
    gemm_share: float | None = None
    ratio: float | None = None  # the textbook form's time, in the same dtype, over this one's
    ratio_to_float32: float | None = None  # the same of the textbook form in float32
    judge: str | None = None
    errors: Sequence[float] = ()  # of output and gradients
    wrong: bool = False
    note: str | None = None
    load: float | None = None  # of the machine, over the minute before
    commit: str | None = None
    date: str | None = None

    @classmethod
    def of(cls, problem: Problem, variant: Variant) -> Row:
        case, solved = problem.case, variant.problem(problem)
        return cls(
            shape=case.name,
            batch=case.batch,
            channels=problem.channels,
            features=case.size,
            image=case.image,
            hole=case.hole,
            dtype=name_of(problem.dtype),
            direction=problem.direction,
            preset=problem.preset,
            device=problem.device,
            threads=torch.get_num_threads(),
            variant=variant.name,
            label=variant.label,
            whole=variant.whole,
            pairs=solved.pairs(),
            flop=solved.flop(),
            textbook_flop=solved.textbook_flop(),
            estimated_bytes=variant.estimated_bytes(problem),
            **circumstances(),
        )

    @property
    def key(self) -> tuple[Any, ...]:
        """What a row is about: a second one with this key takes its place."""
        about = (self.shape, self.channels, self.dtype, self.direction, self.preset)
        return (*about, self.device, self.threads, self.label)

    def take_beside(self, product: Sequence[float], side: int, seconds: Sequence[float]) -> None:
        """Samples that were taken in turns with those of a matrix product of this side."""
        self.take(seconds)
        self.gemm_side = side
        self.gemm_gflops = 2 * side**3 / statistics.median(product) / 1e9
        self.gflops = self.flop / self.median / 1e9
        self.gemm_share = self.gflops / self.gemm_gflops


def add_ratios(rows: Sequence[Row]) -> None:
    """To rows of one problem and pass: each over the textbook form's."""
    textbook = {row.label.removesuffix(", whole"): row.median for row in rows if row.variant == "textbook"}
    own, wide = textbook.get("textbook"), textbook.get("textbook float32")
    for row in rows:
        if row.median is not None:
            row.ratio = own and own / row.median
            row.ratio_to_float32 = wide and wide / row.median


def machine(used: Sequence[str]) -> dict[str, Any]:
    """What times depend on and does not change while they are taken."""
    return {
        "devices": {device: devices.describe(device) for device in used},
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "contextual_attention": _version(),
        "triton": _version("triton"),
        "compiler": backends.extension.build_info()["compiler"] if backends.extension else None,
    }


def _version(package: str = "contextual_attention") -> str | None:
    """None where it is not installed: the checkout can be used as it lies."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def commit() -> str | None:
    """The checkout's, with "+" if it has changes; None outside a checkout."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None


def load(path: Path, kind: type[AnyRow] = Row) -> tuple[dict[str, Any], list[AnyRow]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    try:
        return content["machine"], [kind(**row) for row in content["rows"]]
    except TypeError as error:
        raise ValueError(f"--json: {path} holds results of another benchmark") from error


def save(path: Path | None, about: dict[str, Any], rows: Sequence[AnyRow], kind: type[AnyRow] = Row) -> None:
    """Write rows, and keep those of other problems that the file already holds.

    Args:
        path: JSON; None: nowhere.
        about: The machine, as `machine` describes it.
        rows: To write; one takes the place of another with its key.
        kind: Their class, a dataclass with a `key`.

    Raises:
        ValueError: The file is of another machine, of other versions or of another benchmark.
    """
    if path is None:
        return
    kept: list[AnyRow] = []
    if path.exists():
        before, kept = load(path, kind)
        if before != about:
            raise ValueError(
                f"--json: {path} holds results of another machine or of other versions, which times cannot "
                "be compared across; name another file or remove it"
            )
    merged = {row.key: row for row in (*kept, *rows)}
    # A line for a row: that is what one wants to see of a change.
    lines = ",\n".join(json.dumps(asdict(row)) for row in merged.values())
    text = f'{{"machine": {json.dumps(about)},\n"rows": [\n{lines}\n]}}\n'
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda file: file.write(text.encode()))
