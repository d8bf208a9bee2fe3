"""The embedded set: a small world of shapes, and three models trained on it.

* `world` says what the world is: captions, scenes and how a scene is drawn.
* `verifier` looks at a picture and says which parts of a caption hold.
* `weights/` holds the teacher, the student and the oracle in standard diffusers and transformers
  folders. The code that loads SDXL loads them.
* `training/` is the recipe that made the weights. Nothing outside it imports it.

The set exists so that everything runs without a network or a GPU, and so that quality is a fact
that can be checked.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""The folder with `teacher`, `student` and `oracle`."""

__all__ = ["WEIGHTS"]
