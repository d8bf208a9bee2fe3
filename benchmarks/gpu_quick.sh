#!/usr/bin/env bash
# What a GPU can tell us in ten minutes: benchmarks/gpu_quick.sh FILE.json [arguments of gpu.py]
#
# From a checkout, on a bare machine with torch and transformers; Ray, OpenCV and pyarrow are not
# needed. Wheels of what else is missing (accelerate, compel, diffusers, fairscale, image-reward,
# pillow, pillow-heif, psutil, pydantic, pydantic-core, annotated-types, typing-inspection,
# pyparsing, torchvision) are installed from the folder WHEELS, into a folder of their own. Without
# a GPU: --models tiny-sd tiny-sdxl tiny-sd3 tiny-flux.
set -euo pipefail
file=$1
shift
python=${PYTHON:-python3}
cd "$(dirname "$0")/.."
if [ -n "${WHEELS:-}" ]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
# Models of 70 GB are written and read again: in memory, where there is room.
room=$(df --output=avail -BG /dev/shm 2>/dev/null | tail -1 | tr -dc 0-9 || true)
[ "${room:-0}" -lt 50 ] || export TMPDIR=/dev/shm
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 PYTHONWARNINGS=ignore
mkdir -p "$(dirname "$file")"
exec "$python" -m benchmarks.gpu --seconds 530 --json "$file" "$@"
