"""How good a set of dataset distillation is after more and more iterations.

Usage: PYTHONPATH=. python benchmarks/distillation.py [--dataset MNIST] [--iterations 1000]

Every `--every` iterations the set is tested on fresh networks with its own steps and learning
rates; after the last iteration ordinary training on the same images is tested too. Writes
benchmarks/results/distillation_{dataset}_{network}.csv after each test.
"""

import argparse
import time
from pathlib import Path

import pandas as pd

from dclib import devices
from dclib.applications.evaluation import settings as evaluation
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.data import sources
from dclib.methods.dd.method import DatasetDistillation
from dclib.methods.dd.settings import Settings
from dclib.seeding import Streams

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="MNIST")
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--network", default="LeNet")
    parser.add_argument("--ipc", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--lr", type=float, default=Settings().lr_img)
    parser.add_argument("--models", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    device = devices.choose(options.device, options.threads)
    named = {"name": options.dataset, "source": options.dataset}
    data = sources.read({**named, "image_size": options.image_size})
    settings = Settings(iterations=options.iterations, lr_img=options.lr)
    method = DatasetDistillation(options.network, settings, data, options.ipc, device)
    state = method.start(Streams("distillation", options.dataset))
    rows = []
    started = time.perf_counter()

    def test(iteration: int, recipe: str) -> None:
        seconds = time.perf_counter() - started
        protocol_settings = evaluation.Settings(
            models=options.models, curve_points=1, recipe=recipe
        )
        tested = Evaluation(options.network, protocol_settings, data, method.result(state), device)
        models = tested.start(Streams("test", iteration))
        for _ in range(tested.iterations):
            tested.step(models)
        accuracy = tested.result(models).rows["test_accuracy"]
        rows.append(
            {
                "dataset": options.dataset,
                "network": options.network,
                "ipc": options.ipc,
                "recipe": recipe,
                "iteration": iteration,
                "iterations": options.iterations,
                "test_accuracy_mean": round(float(accuracy.mean()), 3),
                "test_accuracy_std": round(float(accuracy.std(ddof=0)), 3),
                "n": options.models,
                "seconds": round(seconds, 1),
                "lr_img": settings.lr_img,
                "device": devices.describe(device),
            }
        )
        print(rows[-1], flush=True)
        name = f"distillation_{options.dataset}_{options.network}.csv"
        pd.DataFrame(rows).to_csv(ROOT / "benchmarks/results" / name, index=False)

    test(0, "own")
    for iteration in range(1, options.iterations + 1):
        method.step(state)
        if iteration % options.every == 0 or iteration == options.iterations:
            test(iteration, "own")
    test(options.iterations, "ordinary")


if __name__ == "__main__":
    main()
