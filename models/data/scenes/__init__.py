"""Procedural pictures that teach a network how structure goes on: simplified photographs.

scene.py         one scene: a place, what stands in front of it, the camera
places.py        landscapes, streets, rooms, tables and others, painted far to near
backgrounds.py   what places consist of: skies, plains, walls, floors, regions
things.py        what stands in them: balls, cups, boxes, leaves, trees
lines.py         what runs through them: wires, poles, tubes
shading.py       light, shade and shadows
patterns.py      bricks, tiles, windows, railings on planes in perspective
surfaces.py      gradients and noise
shapes.py        signed distances
canvas.py        random numbers, colours, layers
"""

from .scene import draw_scene

__all__ = ["draw_scene"]
