"""How the embedded set was trained: `python -m actors.models.shapes.training`.

The stages, each one module, in this order: `autoencoder`, `language` (the text encoder learns to
read), `latents`, `teacher`, `student`, `oracle`, `control`. `common` holds what they share. Every
stage has its seed; a run that was stopped continues at its last checkpoint. `log.jsonl` is the log
of the run that made the shipped weights, and docs/embedded.md says what they reach.
"""
