"""Calls that the page never makes, but others can: refused, and without a traceback in its log."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import gradio as gr
from starlette.responses import JSONResponse

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


def refusal(message: str) -> gr.Error:
    """What a visitor did that cannot be done: shown on the page, and no traceback here."""
    return gr.Error(message, print_exception=False)


class Page(gr.Blocks):
    """Blocks whose functions are called with what their components make of a call, or not at all."""

    async def preprocess_data(self, *arguments: Any, **options: Any) -> list[Any]:
        try:
            return await super().preprocess_data(*arguments, **options)
        # Components raise whatever values of other kinds lead them to. None of this is the page's own doing.
        except Exception as error:
            raise refusal("What arrived cannot be read; choose the photograph again.") from error


class OneLine:
    """ASGI middleware: what a request leads the server to raise is answered, and told in a line."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        answered = False

        async def watched(message: _Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            told = f"{scope['method']} {scope['path']}: {type(error).__name__}: {error}"
            print(ascii(told)[1:-1][:300], file=sys.stderr, flush=True)
            if not answered:
                await JSONResponse({"error": "malformed"}, status_code=400)(scope, receive, send)
