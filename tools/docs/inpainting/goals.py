"""What `exemplar` and `structure` are meant to reach, and whether they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .cases import JUDGED_AGAIN, TEXTURES
from .methods import METHODS, OURS, RIVAL
from .race import Results, Timed

JUDGED = {"photographs": "judged"}
NOTHING = "no number"
LARGEST = "12 MP, 1 %"  # of the race of sizes

# A goal with its figures, and whether it is met; None: what it is held against did not run.
Told = Iterator[tuple[str, bool | None]]


def exemplar_goals(results: Results, sizes: Sequence[Timed]) -> str:
    """A Markdown list: met, NOT met, or not known."""
    return _list(
        [*_against_rival(results), *_thin(results), *_textures(results), *_rival_sizes(sizes), *_large(sizes)]
    )


def structure_goals(results: Results, sizes: Sequence[Timed]) -> str:
    """Likewise, of each list of cases that it was not trained on."""
    told = [
        *(goal for cases in ("validation", JUDGED_AGAIN) for goal in _structures(results, cases)),
        *(goal for cases in ("validation", JUDGED_AGAIN, "textures") for goal in _grain(results, cases)),
        *_elapsed(sizes),
    ]
    return _list(told)


def _list(told: Sequence[tuple[str, bool | None]]) -> str:
    words = {True: "met", False: "NOT met", None: "not known"}
    return "\n".join(f"- {words[met]}: {text}." for text, met in told)


# Of exemplar


def _against_rival(results: Results) -> Told:
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


def _thin(results: Results) -> Told:
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


def _textures(results: Results) -> Told:
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


def _rival_sizes(sizes: Sequence[Timed]) -> Told:
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


def _large(sizes: Sequence[Timed]) -> Told:
    goal = "12 megapixels with a hole of 1 % in at most 15 s of processor time and 1.5 GB"
    yield from _at_largest(goal, sizes, "exemplar", "seconds", 15)


# Of structure


def _structures(results: Results, cases: str) -> Told:
    """Against the best of what only looks smooth, and against patches alone."""
    goal = f"{cases}: structure: PSNR at least that of Telea and of exemplar + 2 dB"
    ours, *others = (
        results.mean("PSNR", method, photographs=cases, group="structure")
        for method in ("structure", "Telea", "exemplar")
    )
    if ours is None or None in others:
        yield goal, None
        return
    gained = [ours - other for other in others]
    yield f"{goal}: {gained[0]:+.2f} dB, {gained[1]:+.2f} dB", min(gained) >= 2


def _grain(results: Results, cases: str) -> Told:
    """What patches keep of textures is not lost."""
    goal = f"{cases}: texture: 0.75 to 1.25 of the gradient kept, and PSNR at least exemplar's"
    kept, ours, theirs = (
        results.mean(measure, method, photographs=cases, group="texture")
        for measure, method in (("gradient", "structure"), ("PSNR", "structure"), ("PSNR", "exemplar"))
    )
    if kept is None or ours is None or theirs is None:
        yield goal, None
        return
    gained = ours - theirs
    yield f"{goal}: {kept:.2f}, {gained:+.2f} dB", 0.75 <= kept <= 1.25 and gained >= 0


def _elapsed(sizes: Sequence[Timed]) -> Told:
    goal = "12 megapixels with a hole of 1 % after at most 20 s, with 1.5 GB"
    yield from _at_largest(goal, sizes, "structure", "elapsed", 20)


# Of both


def _at_largest(goal: str, sizes: Sequence[Timed], method: str, kind: str, most: float) -> Told:
    """Seconds of a kind and gigabytes of a method on the largest picture; it failed: not met."""
    timed = next((one for one in sizes if (one.case, one.method) == (LARGEST, method)), None)
    if timed is None or timed.failed or timed.peak is None:
        yield goal, None if timed is None else False
        return
    seconds, gigabytes = getattr(timed, kind), timed.peak * 2**20 / 1e9
    yield f"{goal}: {seconds:.1f} s, {gigabytes:.2f} GB", seconds <= most and gigabytes <= 1.5


def _gain(decibels: float | None) -> str:
    return NOTHING if decibels is None else f"{decibels:+.2f} dB"


def _listed(numbers: dict[str, float], sign: str = "") -> str:
    return ", ".join(f"{name} {number:{sign}.2f}" for name, number in numbers.items()) or NOTHING
