"""How the file of somebody else's set is to be understood, and what planning has to know of it."""

from typing import Annotated, Literal

from pydantic import Field

from dclib.fields import Count, Finite, Rate, settings
from dclib.methods import Face

Space = Literal["normalised", "pixels", "whitened"]
Labels = Literal["hard", "probabilities", "logits"]


@settings
class Settings:
    """Where the file of a set is, and what it does not tell itself."""

    file: Annotated[str, Field(min_length=1)]
    """its path; {dataset}, {network}, {ipc} and {seed} in it stand for those of the cell"""
    experiments: Count | None = None
    """how many sets a file holds, one a seed; null for one (one a seed, with {seed} in `file`)"""
    space: Space | None = None
    """of its images: normalised, pixels from 0 to 1, or ZCA-whitened as MTT does it; null for what
    files of its kind have"""
    mean: tuple[Finite, ...] | None = None
    """of each channel, by which its images are normalised; null for that of the data set"""
    std: tuple[Rate, ...] | None = None
    """of each channel, by which its images are normalised; null for that of the data set"""
    factor: Count = 1
    """images hold factor x factor small ones each, which are enlarged to full size (IDC)"""
    lr: Rate | None = None
    """the learning rate that networks are trained with on it under protocol mtt; null for the
    file's own, if it has one"""
    labels: Labels | None = None
    """hard: the class of the largest number; probabilities; logits, whose softmax they are; null
    for what the file has, if it is classes or probabilities"""
    protocol: str = "dc"
    """what `own` means for it"""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.space == "whitened" and self.factor > 1:
            raise ValueError("factor above 1 goes with pixels or normalised images")
        if self.space in ("pixels", "whitened") and (self.mean or self.std):
            raise ValueError(f"{self.space} images are normalised by no mean or std")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std go together; allowed is both of them, or neither")


FACE = Face(Settings, "imported")
