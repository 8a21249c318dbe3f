"""Whether engines and precisions change what is learnt: test accuracy over several seeds.

Usage: PYTHONPATH=. python benchmarks/accuracy.py [--dataset digits MNIST] [--seeds 5]

Condenses and evaluates the same cells with every engine and precision, from the same random
streams. Writes benchmarks/results/accuracy.csv.
"""

import argparse
from pathlib import Path

import pandas as pd

from dclib import devices
from dclib.applications.evaluation import settings as evaluation
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.data import sources
from dclib.methods.dc.method import GradientMatching
from dclib.methods.dc.settings import Settings
from dclib.seeding import Streams

OUT = Path(__file__).resolve().parent / "results/accuracy.csv"
CONTENDERS = {
    "by_class fp32": {"engine": "by_class", "precision": "fp32"},
    "batched fp32": {"engine": "batched", "precision": "fp32"},
    "by_class bf16": {"engine": "by_class", "precision": "bf16"},
}
ON_GPU = {"batched tf32": {"engine": "batched", "precision": "tf32"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", nargs="+", default=["digits", "MNIST"])
    parser.add_argument("--network", default="ConvNet-width32")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    device = devices.choose(options.device, options.threads)
    contenders = {**CONTENDERS, **(ON_GPU if device.type == "cuda" else {})}
    rows = []
    for dataset in options.dataset:
        data = sources.read({"name": dataset, "source": dataset})
        for seed in range(options.seeds):
            for contender, how in contenders.items():
                settings = Settings(iterations=options.iterations, lr_img=1.0, **how)
                method = GradientMatching(options.network, settings, data, options.ipc, device)
                state = method.start(Streams(dataset, seed))
                for _ in range(options.iterations):
                    loss = float(method.step(state)["loss"])
                tested = Evaluation(
                    options.network,
                    evaluation.Settings(
                        models=options.models, curve_points=1, precision=how["precision"]
                    ),
                    data,
                    method.result(state),
                    device,
                )
                models = tested.start(Streams(dataset, seed, "evaluation"))
                for _ in range(tested.iterations):
                    tested.step(models)
                accuracy = tested.result(models).rows["test_accuracy"]
                rows.append(
                    {
                        "dataset": dataset,
                        "network": options.network,
                        "ipc": options.ipc,
                        "iterations": options.iterations,
                        "seed": seed,
                        "contender": contender,
                        "loss": loss,
                        "test_accuracy_mean": round(float(accuracy.mean()), 3),
                        "n": options.models,
                        "device": devices.describe(device),
                    }
                )
                print(rows[-1], flush=True)
                pd.DataFrame(rows).to_csv(OUT, index=False)
    print(
        pd.DataFrame(rows)
        .groupby(["dataset", "contender"])["test_accuracy_mean"]
        .agg(mean="mean", std=lambda values: values.std(ddof=0), count="count")
        .round(2)
    )


if __name__ == "__main__":
    main()
