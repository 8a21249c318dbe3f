"""Time one outer iteration of gradient matching, dclib beside the plain loop, in one process.

Usage: PYTHONPATH=.:tests python benchmarks/iteration.py [--dataset MNIST] [--ipc 1 10]

The plain loop is tests/reference/gradient_matching.py. Both do the same iteration from the same
random streams; the images they end with are compared. The plain loop is timed twice on a CPU: as a
script by itself would run (at the smallest ipc only), and with the memory allocator set up as dclib
sets it up. Writes benchmarks/results/iteration.csv.
"""

import argparse
import subprocess
import time
from pathlib import Path

import pandas as pd
import torch
from reference import gradient_matching as reference

from dclib import devices, readers
from dclib.methods.gradient_matching import GradientMatching, Settings, loops
from dclib.seeding import Streams

ROOT = Path(__file__).resolve().parent.parent


def seconds(device: torch.device, action) -> tuple[float, torch.Tensor]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    images = action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started, images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="MNIST")
    parser.add_argument("--network", default="ConvNet")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3, help="at ipc 1; larger ipc run once")
    parser.add_argument("--out", default=str(ROOT / "benchmarks/results/iteration.csv"))
    options = parser.parse_args()
    data = readers.read(options.dataset)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True
    ).stdout.strip()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    alone = []
    if not torch.cuda.is_available():
        ipc = min(options.ipc)
        outer, inner = loops(ipc)
        for _ in range(options.repeats):
            took, _ = seconds(
                torch.device("cpu"),
                lambda: reference.condense(
                    data, ipc, Settings(), Streams("benchmark"), network=options.network,
                    iterations=1, outer=outer, inner=inner, dtype=torch.float32,
                )[0],
            )  # fmt: skip
            alone.append(round(took, 3))
        print("the plain loop by itself:", alone, flush=True)
    device = devices.choose(options.device, options.threads)
    rows = []
    for ipc in options.ipc:
        outer, inner = loops(ipc)
        settings = Settings(iterations=1)
        method = GradientMatching(options.network, settings, device)

        def ours(ipc=ipc, method=method):
            state = method.start(data, ipc, Streams("benchmark"))
            method.step(state)
            return state.images

        def plain(ipc=ipc, outer=outer, inner=inner, settings=settings):
            return reference.condense(
                data, ipc, settings, Streams("benchmark"), network=options.network,
                iterations=1, outer=outer, inner=inner, dtype=torch.float32, device=device,
            )[0]  # fmt: skip

        if ipc == 1:  # warm up the libraries
            ours()
        for repeat in range(options.repeats if ipc == 1 else 1):
            reference_seconds, expected = seconds(device, plain)
            own_seconds, images = seconds(device, ours)
            rows.append(
                {
                    "dataset": options.dataset,
                    "network": options.network,
                    "ipc": ipc,
                    "repeat": repeat,
                    "reference_alone_seconds": (
                        alone[repeat] if alone and ipc == min(options.ipc) else None
                    ),
                    "reference_seconds": round(reference_seconds, 3),
                    "dclib_seconds": round(own_seconds, 3),
                    "ratio": round(reference_seconds / own_seconds, 3),
                    "largest_difference": float((images - expected).abs().max()),
                    "device": devices.describe(device),
                    "torch": torch.__version__,
                    "commit": commit,
                }
            )
            print(rows[-1], flush=True)
    pd.DataFrame(rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
