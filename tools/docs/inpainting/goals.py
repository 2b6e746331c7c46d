"""What `exemplar` is meant to reach, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .cases import TEXTURES
from .methods import METHODS, OURS, RIVAL
from .race import Results, Timed

JUDGED = {"photographs": "judged"}
NOTHING = "no number"


def goals(results: Results, sizes: Sequence[Timed]) -> str:
    """A Markdown list: met, NOT met, or not known, where what it is held against did not run."""
    told = [*_against_rival(results), *_thin(results), *_textures(results), *_sizes(sizes)]
    words = {True: "met", False: "NOT met", None: "not known"}
    return "\n".join(f"- {words[met]}: {text}." for text, met in told)


def _against_rival(results: Results) -> Iterator[tuple[str, bool | None]]:
    """On squares and structure of the photographs that judge."""
    for group in ("squares", "structure"):
        ours, theirs = (
            {
                measure: results.mean(measure, method, group=group, **JUDGED)
                for measure in ("PSNR", "pd", "seam", "seconds")
            }
            for method in ("exemplar", RIVAL)
        )
        goal = f"{group}: PSNR at least {RIVAL}'s + 0.5 dB, pd at most 0.85 of its, seam at most 0.05"
        if None in (*ours.values(), *theirs.values()):
            yield goal, None
            continue
        gained, share = ours["PSNR"] - theirs["PSNR"], ours["pd"] / theirs["pd"]
        yield (
            f"{goal}: {gained:+.2f} dB, {share:.2f}, {ours['seam']:+.2f}",
            gained >= 0.5 and share <= 0.85 and ours["seam"] <= 0.05,
        )


def _thin(results: Results) -> Iterator[tuple[str, bool | None]]:
    """Against the best of all others."""
    goal = "thin: PSNR at least that of every other tool + 1 dB"
    ours = results.mean("PSNR", "exemplar", group="thin", **JUDGED)
    others = {
        method: psnr
        for method in METHODS
        if method not in OURS and (psnr := results.mean("PSNR", method, group="thin", **JUDGED)) is not None
    }
    if ours is None or not others:
        yield goal, None
        return
    best = max(others, key=lambda method: others[method])
    gained = ours - others[best]
    yield f"{goal}: {gained:+.2f} dB against {best}", gained >= 1


def _textures(results: Results) -> Iterator[tuple[str, bool | None]]:
    """Their grain is kept; Telea, being smooth, has the better PSNR where nothing repeats: by a little."""

    def of_each(measure: str, method: str) -> dict[str, float]:
        means = {name: results.mean(measure, method, group="texture", photograph=name) for name in TEXTURES}
        return {name: mean for name, mean in means.items() if mean is not None}

    kept, seams = of_each("gradient", "exemplar"), of_each("seam", "exemplar")
    ours, telea = of_each("PSNR", "exemplar"), of_each("PSNR", "Telea")
    gained = {name: ours[name] - telea[name] for name in ours if name in telea}
    known = len(kept) == len(TEXTURES) or None
    yield (
        f"textures keep 0.75 to 1.25 of their gradient: {_listed(kept)}",
        known and all(0.75 <= share <= 1.25 for share in kept.values()),
    )
    yield (
        f"and show no seam, at most 0.2: {_listed(seams, '+')}",
        known and all(excess <= 0.2 for excess in seams.values()),
    )
    regular, irregular = gained.pop("brick", None), list(gained.values())
    mean = sum(irregular) / len(irregular) if len(irregular) == len(TEXTURES) - 1 else None
    yield (
        f"PSNR minus Telea's is at least -2.5 dB on the mean of irregular textures: {_gain(mean)}",
        None if mean is None else mean >= -2.5,
    )
    yield (
        f"and at least -0.5 dB on a regular one: brick {_gain(regular)}",
        None if regular is None else regular >= -0.5,
    )


def _sizes(sizes: Sequence[Timed]) -> Iterator[tuple[str, bool | None]]:
    by_case: dict[str, dict[str, Timed]] = {}
    for timed in sizes:
        by_case.setdefault(timed.case, {})[timed.method] = timed
    pairs = {case: (of.get("exemplar"), of.get(RIVAL)) for case, of in by_case.items()}
    shares = {
        case: ours.seconds / theirs.seconds
        for case, (ours, theirs) in pairs.items()
        if ours and theirs and ours.seconds is not None and theirs.seconds is not None
    }
    yield (
        f"processor time at most {RIVAL}'s at every size, as a share of it: {_listed(shares)}",
        len(shares) == len(pairs) and max(shares.values()) <= 1 if shares else None,
    )
    largest = by_case.get("12 MP, 1 %", {}).get("exemplar")
    goal = "12 megapixels with a hole of 1 % in at most 15 s of processor time and 1.5 GB"
    if largest is None or largest.seconds is None or largest.peak is None:
        yield goal, None if largest is None else False
        return
    gigabytes = largest.peak * 2**20 / 1e9
    yield f"{goal}: {largest.seconds:.1f} s, {gigabytes:.2f} GB", largest.seconds <= 15 and gigabytes <= 1.5


def _gain(decibels: float | None) -> str:
    return NOTHING if decibels is None else f"{decibels:+.2f} dB"


def _listed(numbers: dict[str, float], sign: str = "") -> str:
    return ", ".join(f"{name} {number:{sign}.2f}" for name, number in numbers.items()) or NOTHING
