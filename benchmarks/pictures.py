"""Draw the first image of each class of several sets, a row for each set: README's picture.

Usage: PYTHONPATH=. python benchmarks/pictures.py docs/images/real.png SET.safetensors ...
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from dclib.data.synthetic import SyntheticSet

SIDE, BETWEEN = 56, 4  # pixels


def tiles(path: Path) -> list[Image.Image]:
    """Return the first image of each class of a set, of SIDE pixels each way."""
    made = SyntheticSet.load(path)
    side = made.decoded().images.shape[-1]
    column = (made.grid(padding=0, ipc=1) * 255).round().to(torch.uint8).numpy()
    how = Image.Resampling.BICUBIC if SIDE % side else Image.Resampling.NEAREST
    images = map(Image.fromarray, column.reshape(-1, side, side, 3))
    return [image.resize((SIDE, SIDE), how) for image in images]


def main() -> None:
    """Write the picture of the sets that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("picture", type=Path)
    parser.add_argument("sets", nargs="+", type=Path)
    asked = parser.parse_args()
    rows, step = [tiles(path) for path in asked.sets], SIDE + BETWEEN
    size = (max(map(len, rows)) * step + BETWEEN, len(rows) * step + BETWEEN)
    picture = Image.new("RGB", size, (128, 128, 128))
    for down, row in enumerate(rows):
        for right, image in enumerate(row):
            picture.paste(image, (BETWEEN + right * step, BETWEEN + down * step))
    picture.quantize(256).save(asked.picture, optimize=True)


if __name__ == "__main__":
    main()
