"""The price of each picture format: seconds of a core, and bytes, for each pixel.

    python -m benchmarks.formats

Pictures like photographs: noise whose amplitude falls with the frequency f as f^-1.2, as in
photographs (Field, JOSA A 4, 1987: 0.8 to 1.5), with colours that vary less than brightness. Flat
pictures take less of both. Prints a line for each format; `jobs/spec/picture_formats.py` has them.
"""

from __future__ import annotations

from time import process_time

import numpy as np
import numpy.typing as npt

from jobs.output.encode import encode_one
from jobs.spec.picture_formats import PRICES, PictureFormat

SIDE = 1024
PICTURES = 5
SLOPE = 1.2


def photograph(side: int, seed: int) -> npt.NDArray[np.uint8]:
    """A picture (side, side, 3) uint8 with a photograph's spectrum."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None, :])
    frequency[0, 0] = np.inf

    def field() -> npt.NDArray[np.float64]:
        noise = np.fft.fft2(random.standard_normal((side, side))) / frequency**SLOPE
        found: npt.NDArray[np.float64] = np.fft.ifft2(noise).real
        return found / found.std()

    # Standard deviations of brightness and colours, of 255: chosen like those of photographs.
    light, blue, red = 128 + 50 * field(), 12 * field(), 12 * field()
    channels = light + 1.4 * red, light - 0.34 * blue - 0.71 * red, light + 1.77 * blue
    return np.clip(np.stack(channels, -1), 0, 255).astype(np.uint8)


def measure(form: PictureFormat) -> tuple[float, float]:
    """Seconds of a core (the median) and bytes (the mean) for each pixel."""
    seconds, sizes = [], []
    for seed in range(PICTURES):
        picture = photograph(SIDE, seed)
        start = process_time()
        sizes.append(len(encode_one(picture, form)))
        seconds.append(process_time() - start)
    return float(np.median(seconds)) / SIDE**2, float(np.mean(sizes)) / SIDE**2


def main() -> None:
    """Print the table."""
    print(f"{PICTURES} pictures of {SIDE} x {SIDE} pixels on one core")
    print(f"{'format':<18}{'us/pixel':>10}{'bytes/pixel':>13}{'MB each':>9}{'a second':>10}")
    for form in PRICES:
        seconds, size = measure(form)
        rate, each = 1 / (seconds * SIDE**2), size * SIDE**2 / 1e6
        print(f"{form.label:<18}{1e6 * seconds:>10.3f}{size:>13.2f}{each:>9.2f}{rate:>10.1f}")


if __name__ == "__main__":
    main()
