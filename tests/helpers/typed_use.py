"""How a user's typed code calls the package: checked by mypy (tests/test_typing.py), never run."""

from torch import Tensor
from typing_extensions import assert_type

from contextual_attention import (
    PRESETS,
    ContextualAttention,
    Options,
    __version__,
    attention_weights,
    contextual_attention,
)


def function(x: Tensor, several: bool) -> None:
    assert_type(contextual_attention(x, x), Tensor)
    assert_type(contextual_attention(x, x, x, return_offsets=False, softmax_scale=5), Tensor)
    assert_type(contextual_attention(x, x, value=x, return_offsets=True, rate=1), tuple[Tensor, Tensor])
    assert_type(contextual_attention(x, x, return_offsets=several), Tensor | tuple[Tensor, Tensor])
    assert_type(attention_weights(x, x, queries=x, boundary="zero"), Tensor)
    contextual_attention(x, x, boundary="reflect")  # type: ignore[call-overload]
    contextual_attention(x, x, radius=3)  # type: ignore[call-overload]
    attention_weights(x, x, queries=x, rate="2")  # type: ignore[arg-type]


def module(x: Tensor, several: bool) -> None:
    layer = ContextualAttention.from_preset("yu2018", rate=4)
    assert_type(layer, ContextualAttention)
    assert_type(layer.options, Options)
    assert_type(layer(x, x), Tensor)
    assert_type(layer(x, x, foreground_mask=x, return_offsets=True), tuple[Tensor, Tensor])
    assert_type(layer(x, x, return_offsets=several), Tensor | tuple[Tensor, Tensor])
    assert_type(layer.forward(x, x, x), Tensor)
    ContextualAttention(radius=3)  # type: ignore[call-arg]
    ContextualAttention(ksize="3")  # type: ignore[arg-type]
    ContextualAttention.from_preset("yu2018", ksize="3")  # type: ignore[arg-type]
    layer(x)  # type: ignore[call-overload]


def options() -> None:
    assert_type(Options.from_preset("paper", masking="multiply"), Options)
    assert_type(PRESETS["paper"].softmax_scale, float)
    assert_type(__version__, str)
    Options(overlap="sum")  # type: ignore[arg-type]
