"""The kind of device that computes, in words: a row's last bits depend on it."""

from __future__ import annotations

import os


def device_kind() -> str:
    """The GPU's name, or what the CPU can do; and settings of torch that are not its defaults.

    Two devices of one kind give the same bytes (docs/performance.md). TF32 and the attention kernel
    change bytes on a GPU, and neither is in a job file.
    """
    import torch  # here, because the driver imports the actors' classes too

    if not torch.cuda.is_available():
        return f"CPU, {torch.backends.cpu.get_cpu_capability()}"
    settings = []
    if torch.backends.cuda.matmul.allow_tf32:
        settings.append("TF32 in products of matrices")
    if not torch.backends.cudnn.allow_tf32:
        settings.append("no TF32 in convolutions")
    if attention := os.environ.get("DIFFUSERS_ATTN_BACKEND"):
        settings.append(f"attention by {attention}")
    return ", ".join([torch.cuda.get_device_name(), *settings])
