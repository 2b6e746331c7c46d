"""Procedural pictures that teach a network how structure goes on: simplified photographs.

scene.py      one scene: a place, what stands in front of it, the camera
places.py     landscapes, streets, rooms, tables and others, painted far to near
things.py     objects with their shading and shadows, wires, poles
patterns.py   bricks, tiles, windows, railings on planes in perspective
surfaces.py   gradients, noise
shapes.py     signed distances
canvas.py     random numbers, colours, layers
"""

from .scene import draw_scene

__all__ = ["draw_scene"]
