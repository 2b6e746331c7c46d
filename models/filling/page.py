"""The web page: choose a photograph, brush over what should go, see it gone. Needs gradio, the extra web.

The photograph itself stays here: the browser shows a copy to paint on, and sends back the strokes alone, so
that what is known comes back bit for bit, whatever a browser does to colours.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ...photos import PhotoError, open_photo
from ...visualize import offsets_to_image
from .inpaint import inpaint

# Read when gradio is imported: it would else report each start over the network.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr
from starlette.middleware import Middleware

from .malformed import OneLine, Page, refusal

_TITLE = "Contextual attention"
_INTRODUCTION = f"""# {_TITLE}
Choose a photograph, **brush over what should go**, and press *Fill*. The hole is filled with patches of the
same photograph; the attention map shows how far and which way each was fetched. With *structure* a small
network corrects edges and shapes."""
_METHODS = {
    "structure": "structure: sharp, shapes corrected",
    "exemplar": "exemplar: sharp",
    "patchmatch": "patchmatch: faster",
    "model": "model: the trained network",
}
# Red and half transparent: seen on nearly every photograph, which shows through.
_BRUSH = ("#ff3355", 0.6)
# Uploads and states that nobody has used for so long are deleted, in seconds.
_KEPT = 3600
_LARGEST_FILE = "100mb"
_PORTS = range(7860, 7960)


@dataclass(frozen=True)
class Desk:
    """What the page does with a photograph.

    Args:
        model: A trained network; None: the page does not offer the method that needs one.
        device: Where to compute; default: the CPU.
        most_pixels: A photograph with more is refused. Default: Pillow's bound.
    """

    model: torch.nn.Module | None = None
    device: str | None = None
    most_pixels: int | None = None

    @property
    def methods(self) -> list[str]:
        """The names of the methods that the page offers."""
        return [name for name in _METHODS if name != "model" or self.model is not None]

    def choose(self, path: str | None) -> tuple[Image.Image, gr.ImageEditor]:
        """Open a photograph: it, to be kept, and the editor that shows it.

        Raises:
            gr.Error: It cannot be read, or is too large.
        """
        if path is None:
            raise refusal("No file arrived; choose a photograph again.")
        try:
            image = open_photo(Path(path), self.most_pixels).image
        except PhotoError as error:
            raise refusal(str(error).replace(path, Path(path).name)) from error
        return image, _editor(_shown(image))

    def pick(self, sample: list[str] | None) -> tuple[Image.Image, gr.ImageEditor]:
        """The same for an example."""
        return self.choose(sample[0] if sample else None)

    def fill(
        self,
        image: Image.Image | None,
        painted: Mapping[str, Any] | None,
        method: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how gradio is told to pass one in)
    ) -> tuple[Image.Image, Image.Image, str]:
        """Fill what is painted over.

        Args:
            image: As `choose` returned it.
            painted: The editor's value: its layers hold the strokes.
            method: One of `methods`.
            progress: Shown on the page.

        Returns:
            The picture, the attention map, and a line that says what was done in what time.

        Raises:
            gr.Error: Nothing to fill, nothing to fill it with, or the method failed.
        """
        if image is None:
            raise refusal("Choose a photograph first.")
        hole = brushed(painted, image.size)
        start = time.perf_counter()
        progress(0.0, desc="Filling")
        try:
            picture, offsets = inpaint(
                image, hole, method, model=self.model if method == "model" else None, device=self.device,
                return_offsets=True,
                progress=lambda share: progress(share, desc="Filling"),
            )  # fmt: skip
        # ValueError: nothing is known. RuntimeError: out of memory.
        except (ValueError, RuntimeError, MemoryError) as error:
            raise refusal(str(error) or type(error).__name__) from error
        seconds = time.perf_counter() - start
        attention = offsets_to_image(offsets, picture.size[::-1])[0].permute(1, 2, 0).cpu().numpy()
        told = f"{hole.sum():,} pixels, {hole.mean():.1%} of the photograph, by {method} in {seconds:.1f} s."
        return picture, Image.fromarray(attention), told


def brushed(painted: Mapping[str, Any] | None, size: tuple[int, int]) -> np.ndarray:
    """What is painted over, (H, W) bool: every pixel that a stroke has touched.

    Args:
        painted: The editor's value, with RGBA layers.
        size: (width, height) of the photograph.

    Raises:
        gr.Error: Nothing is, or everything, or the strokes belong to another photograph.
    """
    hole = np.zeros(size[::-1], bool)
    for layer in painted["layers"] if painted else []:
        if layer.size != size:
            raise refusal("The strokes belong to another photograph; choose the photograph again.")
        hole |= np.asarray(layer.getchannel("A")) > 0
    if not hole.any():
        raise refusal("Brush over what should go first.")
    if hole.all():
        raise refusal("Everything is brushed over: leave some of the photograph to fill the hole with.")
    return hole


def build(desk: Desk, examples: Iterable[Path]) -> gr.Blocks:
    """The page.

    Args:
        desk: What its buttons do.
        examples: Photographs to pick from.
    """
    with Page(title=_TITLE, analytics_enabled=False, delete_cache=(_KEPT, _KEPT)) as page:
        image = gr.State(time_to_live=_KEPT)
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            with gr.Column():
                upload = gr.UploadButton("Upload a photograph", elem_id="upload", size="md")
                picked = gr.Dataset(
                    label="or pick one", components=[gr.Image(visible=False)], elem_id="examples",
                    samples=[[str(path)] for path in examples],
                )  # fmt: skip
                editor = _editor()
                method = gr.Radio(
                    [(_METHODS[name], name) for name in desk.methods], value=desk.methods[0], label="Method"
                )
                button = gr.Button("Fill", variant="primary", elem_id="fill")
            with gr.Column():
                result = _picture("Result", "result")
                told = gr.Markdown(elem_id="told")
                attention = _picture("Attention map", "attention")
        # No progress: where it fails, it would hide the photograph that was chosen before.
        upload.upload(desk.choose, upload, [image, editor], show_progress="hidden")
        picked.click(desk.pick, picked, [image, editor], show_progress="hidden")
        # One at a time: two would share the processor and both take twice as long.
        button.click(
            desk.fill, [image, editor, method], [result, attention, told], concurrency_limit=1,
            show_progress_on=result,
        )  # fmt: skip
    return page


def serve(page: gr.Blocks, host: str, port: int | None, wait: bool = True) -> str:
    """Show a page at an address, nowhere else: no tunnel, no server of another language.

    Args:
        page: As `build` returned it.
        host, port: Where to listen; without a port at the first free one from 7860 on.
        wait: Until the process is stopped; otherwise return at once, and stop it by ``page.close()``.

    Returns:
        Its address.

    Raises:
        OSError: There is no such address here, or the port is taken.
    """
    port = _free_port(host, port)
    theme = gr.themes.Soft(
        # Fonts of the machine that shows it: others would be downloaded.
        primary_hue="rose", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["monospace"],
    )  # fmt: skip
    _, address, _ = page.launch(
        server_name=host, server_port=port, share=False, ssr_mode=False, prevent_thread_lock=True, quiet=True,
        theme=theme, footer_links=[], max_file_size=_LARGEST_FILE,
        app_kwargs={"middleware": [Middleware(OneLine)]},
    )  # fmt: skip
    if wait:
        print(f"The page is at {address} (Ctrl-C: stop)", flush=True)
        page.block_thread()
    return address


def _free_port(host: str, port: int | None) -> int:
    """Whether the page can be shown there, found out at once: gradio would wait for minutes.

    Raises:
        OSError: It cannot, and why.
    """
    for candidate in _PORTS if port is None else [port]:
        try:
            with socket.create_server((host, candidate)):
                return candidate
        except OSError as error:
            reason = error
    raise reason


def _editor(photograph: Image.Image | None = None) -> gr.ImageEditor:
    """A photograph to paint on: a brush of one colour, and nothing that would change the photograph."""
    radius = 20 if photograph is None else max(4, min(photograph.size) // 20)
    return gr.ImageEditor(
        photograph and {"background": photograph, "layers": [], "composite": None},
        label="Brush here", type="pil", image_mode="RGBA", format="png", sources=[],
        transforms=[], layers=False, brush=gr.Brush(radius, [_BRUSH], _BRUSH, "fixed"), height=440,
        elem_id="editor",
    )  # fmt: skip


def _picture(label: str, elem_id: str) -> gr.Image:
    """A place for a picture, which the browser gets bit for bit."""
    return gr.Image(
        label=label, format="png", image_mode=None, interactive=False, buttons=["download", "fullscreen"],
        elem_id=elem_id,
    )  # fmt: skip


def _shown(image: Image.Image) -> Image.Image:
    """A photograph of any kind as RGB of 8 bits, which every browser shows."""
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGB")
