"""Draw the first image of each class of several sets, a row for each set: README's picture.

Usage: PYTHONPATH=. python benchmarks/pictures.py docs/images/real.png SET.safetensors ...
"""

import argparse
import sys
from pathlib import Path

import torch
from PIL import Image, ImageOps

from dclib.data.synthetic import SyntheticSet
from dclib.errors import InputError

SIDE, BETWEEN = 56, 4  # pixels
AROUND = (128, 128, 128)


def tiles(path: Path) -> list[Image.Image]:
    """Return the first image of each class of a set, of SIDE pixels at its longer side."""
    made = SyntheticSet.load(path)
    shape = made.decoded().images.shape[-2:]
    column = (made.grid(padding=0, ipc=1) * 255).round().to(torch.uint8).numpy()
    how = Image.Resampling.BICUBIC if SIDE % max(shape) else Image.Resampling.NEAREST
    images = map(Image.fromarray, column.reshape(-1, *shape, 3))
    return [ImageOps.pad(image, (SIDE, SIDE), how, AROUND) for image in images]


def main() -> None:
    """Write the picture of the sets that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("sets", nargs="+", type=Path)
    asked = parser.parse_args()
    try:
        rows, step = [tiles(path) for path in asked.sets], SIDE + BETWEEN
    except InputError as error:
        sys.exit(f"error: {error}")
    size = (max(map(len, rows)) * step + BETWEEN, len(rows) * step + BETWEEN)
    picture = Image.new("RGB", size, AROUND)
    for down, row in enumerate(rows):
        for right, image in enumerate(row):
            picture.paste(image, (BETWEEN + right * step, BETWEEN + down * step))
    picture.quantize(256).save(asked.picture, optimize=True)


if __name__ == "__main__":
    main()
