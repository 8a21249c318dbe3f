"""Time and peak memory of a user's folder of many small pictures: a plan's look, and `prepare`.

    PYTHONPATH=. python benchmarks/folders.py --images 100000 --processes 2

The pictures (PNG, 64x64, colour, a tenth for each of ten classes) are made in a temporary folder.
Memory is that of all processes together, PyTorch's import included, asked for ten times a second.
"""

import argparse
import io
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from dclib.data import sources


def make(root: Path, images: int) -> None:
    """Write five sixths of the images to train and the others to test."""
    random, bodies = np.random.default_rng(0), []
    for _ in range(64):
        small = Image.fromarray(random.integers(256, size=(8, 8, 3), dtype=np.uint8))
        stream = io.BytesIO()
        small.resize((64, 64), Image.Resampling.BICUBIC).save(stream, "png")
        bodies.append(stream.getvalue())
    for split, count in (("train", images * 5 // 6), ("test", images // 6)):
        for name in range(10):
            place = root / split / str(name)
            place.mkdir(parents=True)
            for i in range(count // 10):
                (place / f"{i}.png").write_bytes(bodies[i % 64])


def watch(peak: list[int]) -> None:
    """Note the memory of this process and of all that it started."""
    own = psutil.Process()
    while True:
        total = 0
        for process in (own, *own.children(recursive=True)):
            try:
                total += process.memory_info().rss
            except psutil.Error:  # it is gone
                continue
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, peak = Path(folder), [0]
        make(root / "own", asked.images)
        options = {"name": "own", "source": "folder", "path": root / "own"}
        started = time.monotonic()
        print(sources.look(options), f"look: {time.monotonic() - started:.1f} s", flush=True)
        threading.Thread(target=watch, args=(peak,), daemon=True).start()
        started = time.monotonic()
        sources.prepare(options, root / "data.safetensors", processes=asked.processes)
        seconds = time.monotonic() - started
        print(f"prepare, {asked.processes} processes: {seconds:.1f} s, {peak[0] >> 20} MiB")
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
