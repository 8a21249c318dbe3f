"""What memory is reckoned with; planning needs it too, so that it does without PyTorch."""

# What a computation holds at its peak, as a multiple of what one forward pass keeps for its
# backward pass: a pass there only, one there and back, and one whose way back is differentiated.
FORWARD, FIRST_ORDER, SECOND_ORDER = 2.0, 2.7, 8

# The second of these over many steps, where freed memory comes to lie in pieces: measured, it is
# between 2 and 2.8 from run to run.
TRAINING = 2.9

# Images that go through a network at once where it is not told from their size.
MICRO_BATCH = {"cpu": 128, "cuda": 1024}

CPU_BUDGET = 2**29  # bytes that one batched operation may take on a CPU


def passing(activation_bytes: int, budget: int = CPU_BUDGET) -> int:
    """Return how many images fit through a network at once, there and back.

    Args:
        activation_bytes: what the forward pass of one image keeps for its backward pass.
        budget: bytes that may be taken.
    """
    return max(1, int(budget / max(1, FIRST_ORDER * activation_bytes)))


def training_bytes(activation_bytes: int, parameters: int, batch: int) -> int:
    """Return the bytes that training one network on batches of `batch` images takes.

    Args:
        activation_bytes: see `passing`.
        parameters: how many numbers, of 4 bytes each, the network learns.
    """
    return int(FIRST_ORDER * activation_bytes * batch + 5 * 4 * parameters)


def evaluation_bytes(activation_bytes: int, batch: int, images: float) -> int:
    """Return the bytes that training on `images` images and testing take, besides the network.

    Args:
        activation_bytes: see `passing`.
        batch: images that are trained on at once.
    """
    training, testing = TRAINING * min(batch, images), FORWARD * MICRO_BATCH["cpu"]
    return int(activation_bytes * max(training, testing))
