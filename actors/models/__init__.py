"""Everything that actors load: diffusion pipelines, oracles, presets, and the embedded set."""
