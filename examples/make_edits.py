"""Made examples/edits.parquet: `python examples/make_edits.py`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.models.shapes.edits import edit_row

rng = np.random.default_rng(9)
rows = [edit_row(rng, "demo") for _ in range(48)]
table = pa.table(
    {"prompt": [str(row.target) for row in rows], "picture": [row.png for row in rows]}
)
pq.write_table(table, Path(__file__).with_name("edits.parquet"))
