"""How the embedded set was trained: `python -m actors.models.shapes.training`.

The stages, each one module, in this order: `autoencoder`, `language` (the text encoder learns to
read), `latents`, `teacher`, `student`, `oracle`, `control`; they share `common`. Every stage has
its seed; a run that was stopped continues at its last checkpoint. Sizes, rates and numbers of steps
without a reason beside them were chosen by hand: `log.jsonl` is the log of the run that made the
shipped weights with them, and docs/embedded.md has the results.
"""
