"""How the embedded set is trained: `python -m actors.models.shapes.training`.

The stages, each one module, in this order: `autoencoder`, `language` (the text encoder learns to
read), `teacher`, `student`, `oracle`. `common` holds what they share.

The recipe is not finished, and has not run from end to end yet: docs/embedded.md says what the
shipped weights reach, how they were made, and what is open. `log.jsonl` is the record of the
attempts so far, abandoned ones included.
"""
