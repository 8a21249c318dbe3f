"""Differentiable siamese augmentation, image by image and pixel by pixel. Never optimised."""

import math


def change(image, kind, u):
    """One image [channels][rows][columns] as nested lists; `u` as `dsa.transform` takes it."""
    channels, height, width = len(image), len(image[0]), len(image[0][0])
    rows, columns = range(height), range(width)
    if kind == "flip":
        return image if u[7] >= 0.5 else [[row[::-1] for row in channel] for channel in image]
    if kind == "color":
        image = [[[x + u[0] - 0.5 for x in row] for row in channel] for channel in image]
        means = [[sum(c[i][j] for c in image) / channels for j in columns] for i in rows]
        image = [
            [[means[i][j] + (c[i][j] - means[i][j]) * 2 * u[1] for j in columns] for i in rows]
            for c in image
        ]
        mean = sum(x for c in image for row in c for x in row) / (channels * height * width)
        return [[[mean + (x - mean) * (u[2] + 0.5) for x in row] for row in c] for c in image]
    if kind == "crop":
        down, right = (
            math.floor(number * (2 * int(0.125 * side + 0.5) + 1)) - int(0.125 * side + 0.5)
            for number, side in ((u[3], height), (u[4], width))
        )
        return [[[_pixel(c, i + down, j + right) for j in columns] for i in rows] for c in image]
    if kind == "cutout":
        holes = []
        for number, side in ((u[5], height), (u[6], width)):
            size = int(0.5 * side + 0.5)
            places = side + 1 if size % 2 == 0 else side
            centre = math.floor(number * places)
            block = [centre - size // 2 + k for k in range(size)]
            holes.append({min(max(place, 0), side - 1) for place in block})
        down, across = holes
        return [
            [[0.0 if i in down and j in across else c[i][j] for j in columns] for i in rows]
            for c in image
        ]
    if kind == "scale":
        vertical, horizontal = (1 / 1.2 + number * (1.2 - 1 / 1.2) for number in (u[8], u[9]))
        matrix = ((horizontal, 0.0), (0.0, vertical))
    else:
        angle = (2 * u[10] - 1) * 15 * math.pi / 180
        matrix = ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
    return [[[_sampled(c, matrix, i, j) for j in columns] for i in rows] for c in image]


def _pixel(channel, i, j):
    inside = 0 <= i < len(channel) and 0 <= j < len(channel[0])
    return channel[i][j] if inside else 0.0


def _sampled(channel, matrix, i, j):
    """Bilinear, zeros outside; coordinates go from -1 to 1 at the outer edges of the image."""
    height, width = len(channel), len(channel[0])
    x, y = (2 * j + 1) / width - 1, (2 * i + 1) / height - 1
    x, y = matrix[0][0] * x + matrix[0][1] * y, matrix[1][0] * x + matrix[1][1] * y
    column, row = ((x + 1) * width - 1) / 2, ((y + 1) * height - 1) / 2
    left, top = math.floor(column), math.floor(row)
    return sum(
        (1 - abs(row - k)) * (1 - abs(column - m)) * _pixel(channel, k, m)
        for k in (top, top + 1)
        for m in (left, left + 1)
    )
