import dataclasses
import inspect

import numpy as np
import pytest

from contextual_attention import contextual_attention
from contextual_attention.options import PRESETS, Options

# The table of the published behaviours, row by row.
NAMES = ("paper", "yu2018", "daa233", "nipponjo", "mmagic")
TABLE = {
    "ksize": (3, 3, 3, 3, 3),
    "stride": (1, 1, 1, 1, 1),
    "rate": (2, 2, 2, 2, 2),
    "fuse": (True, True, True, True, True),
    "fuse_k": (3, 3, 3, 3, 3),
    "softmax_scale": (10.0, 10.0, 10.0, 10.0, 10.0),
    "normalize": ("both", "background", "background", "background", "background"),
    "eps": (1e-4, 1e-4, 1e-4, 1e-4, 1e-4),
    "eps_mode": ("max", "max", "sum", "max", "max"),
    "downscale": ("strided", "aligned", "strided", "strided", "strided"),
    "mask_downscale": ("any", "sampled", "sampled", "sampled", "sampled"),
    "propagation": ("after", "before", "before", "before", "before"),
    "boundary": ("zero", "wrap", "wrap", "wrap", "wrap"),
    "masking": ("exclude", "multiply", "multiply", "multiply", "exclude"),
    "overlap": ("mean", "fixed", "fixed", "fixed", "mean"),
}


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_the_published_behaviours(name):
    expected = {option: row[NAMES.index(name)] for option, row in TABLE.items()}
    assert dataclasses.asdict(Options.from_preset(name)) == expected
    assert tuple(PRESETS) == NAMES


def test_defaults_are_the_paper_everywhere():
    assert Options() == PRESETS["paper"]
    parameters = inspect.signature(contextual_attention).parameters
    assert {name: parameters[name].default for name in TABLE} == dataclasses.asdict(Options())


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.float32, np.float64, np.array])
def test_numpy_s_numbers_become_python_s(kind):
    integer = kind if kind in (np.int64, np.uint8, np.array) else int
    real = kind if kind is not np.array else float
    options = Options(
        ksize=integer(5),
        stride=integer(2),
        rate=integer(1),
        fuse=np.True_,
        softmax_scale=real(5),
        eps=real(1),
    )
    assert options == Options(ksize=5, stride=2, rate=1, softmax_scale=5, eps=1)
    assert {type(x) for x in vars(options).values()} == {int, bool, float, str}
    assert eval(repr(options)) == options


def test_overrides_replace_the_preset():
    options = Options.from_preset("daa233", rate=4, masking="exclude")
    assert (options.rate, options.masking, options.eps_mode) == (4, "exclude", "sum")
    assert PRESETS["daa233"].rate == 2


@pytest.mark.parametrize("name", NAMES)
def test_changed_options_make_the_same_again(name):
    options = Options.from_preset(name, softmax_scale=3.0)
    assert Options(**options.changed()) == options
    assert "rate" not in options.changed()


def test_options_are_values():
    assert hash(Options(rate=4)) == hash(Options(rate=4))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().rate = 4


@pytest.mark.parametrize(
    ("option", "wrong", "error", "expected"),
    [
        ("ksize", 2, ValueError, "odd integer >= 1, got 2"),
        ("ksize", 0, ValueError, "odd integer >= 1, got 0"),
        ("ksize", -3, ValueError, "got -3"),
        ("ksize", 3.0, TypeError, "got 3.0"),
        ("ksize", 257, ValueError, "odd integer <= 256, got 257: time and memory"),
        ("ksize", np.True_, TypeError, "got np.True_"),
        ("ksize", np.float64(3), TypeError, "got np.float64(3.0)"),
        ("fuse_k", 2**40 + 1, ValueError, "odd integer <= 256"),
        ("stride", 2**40, ValueError, "integer <= 256, got 1099511627776"),
        ("rate", 2**40, ValueError, "integer <= 256, got 1099511627776"),
        ("rate", np.int64(2**40), ValueError, "integer <= 256"),
        ("softmax_scale", 1e13, ValueError, "number <= 1e+12, got 10000000000000.0: float32 would overflow"),
        ("softmax_scale", np.float32("nan"), ValueError, "finite number >= 0, got nan"),
        ("softmax_scale", np.True_, TypeError, "got np.True_"),
        ("softmax_scale", True, TypeError, "got True"),
        ("eps", 1e30, ValueError, "number <= 1e+12"),
        ("fuse_k", 4, ValueError, "odd integer >= 1, got 4"),
        ("fuse_k", None, TypeError, "got None"),
        ("stride", 0, ValueError, "integer >= 1, got 0"),
        ("stride", True, TypeError, "got True"),
        ("rate", 0, ValueError, "integer >= 1, got 0"),
        ("rate", "2", TypeError, "got '2'"),
        ("fuse", 1, TypeError, "expected a bool, got 1"),
        ("softmax_scale", -1.0, ValueError, "finite number >= 0, got -1.0"),
        ("softmax_scale", float("inf"), ValueError, "finite number >= 0, got inf"),
        ("softmax_scale", "10", TypeError, "got '10'"),
        ("eps", 0.0, ValueError, "finite number >= 1e-12, got 0.0"),
        ("eps", float("nan"), ValueError, "got nan"),
        ("normalize", "foreground", ValueError, "one of 'both', 'background', got 'foreground'"),
        ("normalize", True, TypeError, "got True"),
        ("eps_mode", "mean", ValueError, "'max', 'sum'"),
        ("downscale", "nearest", ValueError, "'strided', 'aligned'"),
        ("mask_downscale", "all", ValueError, "'any', 'sampled'"),
        ("propagation", "both", ValueError, "'after', 'before'"),
        ("boundary", "reflect", ValueError, "'zero', 'wrap'"),
        ("masking", "drop", ValueError, "'exclude', 'multiply'"),
        ("overlap", "sum", ValueError, "'mean', 'fixed'"),
    ],
)
def test_a_wrong_option_is_named(option, wrong, error, expected):
    with pytest.raises(error, match=f"^{option}: ") as raised:
        Options(**{option: wrong})
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("options", "conflict"),
    [
        ({"boundary": "wrap", "propagation": "before", "stride": 2}, "stride=2"),
        ({"boundary": "wrap", "propagation": "after"}, 'propagation="after"'),
    ],
)
def test_contradicting_options_are_refused_only_where_they_meet(options, conflict):
    with pytest.raises(ValueError, match=f"^boundary: .*{conflict}"):
        Options(**options)
    Options(**options, fuse=False)
    Options(**options, fuse_k=1)


def test_a_propagation_that_reaches_too_far_is_refused():
    with pytest.raises(ValueError, match=r"^fuse_k: expected \(fuse_k - 1\) \* stride <= 64, got 512"):
        Options(stride=256)
    Options(stride=256, fuse=False)
    Options(stride=32)


def test_an_unknown_preset_or_option_is_named():
    with pytest.raises(ValueError, match=r"one of paper, yu2018, .*; got 'yu2019'"):
        Options.from_preset("yu2019")
    with pytest.raises(TypeError, match=r"^radius: no such option; expected one of ksize, stride"):
        Options.from_preset("paper", radius=3)
