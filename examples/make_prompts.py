"""Make the demo's input: `python examples/make_prompts.py` writes examples/prompts.parquet.

The captions are of the split "demo": none was trained on, and none is held out for evaluation.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.models.shapes import world

NUM_PROMPTS = 192


def main() -> None:
    """Write the file beside this script."""
    rng = np.random.default_rng(7)
    captions = world.sample_captions(rng, NUM_PROMPTS, "demo")
    table = pa.table(
        {
            "id": [f"shape-{i:04d}" for i in range(NUM_PROMPTS)],
            "prompt": [str(caption) for caption in captions],
        }
    )
    pq.write_table(table, Path(__file__).with_name("prompts.parquet"))


if __name__ == "__main__":
    main()
