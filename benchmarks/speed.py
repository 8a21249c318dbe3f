"""Time and memory of condensing and evaluating, dclib's engines beside the plain loop.

Usage: PYTHONPATH=.:tests python benchmarks/speed.py [--dataset MNIST] [--whole 1 10] ...

Everything is measured in one process, by turns, on the same data and from the same random streams.
The plain loop is the one in tests/reference, with the networks of dclib. On a CPU it is timed
twice: first as it would run as a script by itself, and then with the memory allocator set up as
dclib sets it up (`plain, memory kept`). Writes benchmarks/results/speed_{device}.csv and .png.
"""

import argparse
import ctypes
import dataclasses
import functools
import gc
import statistics
import subprocess
import time
from pathlib import Path

import matplotlib
import pandas as pd
import torch
from reference import evaluation as plain_evaluation
from reference import gradient_matching as plain
from torch.utils.flop_counter import FlopCounterMode

from dclib import devices
from dclib.applications.evaluation import settings as evaluation
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.data import sources
from dclib.data.datasets import ImageDataset
from dclib.methods.dc.method import GradientMatching, Steps
from dclib.methods.dc.settings import Settings
from dclib.methods.random import method as random
from dclib.networks import plans as networks
from dclib.seeding import Streams, global_seed

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results"


class Plain:
    """An outer step, a step of training and a whole iteration of the plain loop."""

    def __init__(self, data, network, ipc, device):
        self.data, self.name, self.ipc, self.device = data, network, ipc, device
        self.images = torch.randn(
            data.num_classes, ipc, *data.train_images.shape[1:], generator=seeded()
        ).to(device)
        self.labels = torch.arange(data.num_classes, device=device).repeat_interleave(ipc)
        self.pixels = data.normalise(data.train_images).to(device)
        self.network = build(data, network).to(device)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.01)

    def outer_step(self):
        chosen = self.data.sample(256, seeded())
        real = [self.pixels[indices.to(self.device)] for indices in chosen]
        return plain.match(self.network, real, self.images)

    def training_step(self):
        images, labels = self.images.flatten(0, 1)[:256], self.labels[:256]
        self.optimizer.zero_grad()
        torch.nn.functional.cross_entropy(self.network(images), labels).backward()
        self.optimizer.step()

    def iteration(self):
        outer, inner = Settings().loops(self.ipc)
        return plain.condense(
            self.data, self.ipc, Settings(), Streams("benchmark"), network=self.name,
            iterations=1, outer=outer, inner=inner, dtype=torch.float32, device=self.device,
        )[0]  # fmt: skip


class Engine:
    """The same of dclib, with one engine in one precision."""

    def __init__(self, data, network, ipc, device, engine="auto", precision="tf32"):
        settings = Settings(engine=engine, precision=precision)
        self.method = GradientMatching(network, settings, data, ipc, device)
        self.state = self.method.start(Streams("benchmark"))
        self.steps = Steps(self.method, self.state)
        self.batch = torch.arange(min(256, len(self.state.labels)), device=device)

    def outer_step(self):
        with devices.precision(self.method.device, self.method.settings.precision):
            self.steps.match()

    def training_step(self):
        with devices.precision(self.method.device, self.method.settings.precision):
            self.steps._train_on(self.batch)

    def iteration(self):
        self.method.step(self.state)


def seeded():
    return torch.Generator().manual_seed(0)


def build(data, network):
    with global_seed(0, torch.device("cpu")):
        return networks.build(network, data.channels, data.image_size, data.num_classes)


def evaluate_plainly(data, network, device, settings):
    chosen = random.select(data, 10, Streams("benchmark"))
    images, labels = chosen.images.to(device), chosen.labels.to(device)
    tested = data.normalise(data.test_images).to(device), data.test_labels.to(device)
    for _ in range(settings.models):
        model = build(data, network).to(device)
        plain_evaluation.evaluate(model, images, labels, *tested, settings, seeded())


def evaluate(data, network, device, settings):
    chosen = random.select(data, 10, Streams("benchmark"))
    made = Evaluation(network, settings, data, chosen, device)
    state = made.start(Streams("benchmark"))
    for _ in range(made.iterations):
        made.step(state)


class Bench:
    """Measures calls and keeps a row for each."""

    def __init__(self, device, out):
        self.device, self.out, self.rows = device, out, []
        self.rates, self.common = {}, {}

    def time(self, actions, repeats, warm):
        """Return of each action the median seconds, and MiB at the peak less those held before.

        Each is called `warm` times, and once for its peak; then they are timed by turns. With one
        repeat, that for the peak is the one that is timed.
        """
        seconds, peaks = [[] for _ in actions], []
        for action, taken in zip(actions, seconds, strict=True):
            for _ in range(warm):
                action()
            before = forget_peak(self.device)
            taken.append(self.call(action))
            peaks.append(devices.peak_memory_mib(self.device) - before)
        for _ in range(repeats if repeats > 1 else 0):
            for action, taken in zip(actions, seconds, strict=True):
                taken.append(self.call(action))
        timed = [taken[1:] or taken for taken in seconds]
        return [(statistics.median(taken), peak) for taken, peak in zip(timed, peaks, strict=True)]

    def call(self, action):
        """Return the seconds of one call."""
        synchronise(self.device)
        started = time.perf_counter()
        action()
        synchronise(self.device)
        return time.perf_counter() - started

    def machine(self):
        """Measure what the machine can do, once memory is kept: multiply, convolve and copy."""
        size = 8192 if self.device.type == "cuda" else 2048
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            if name == "bf16" and not has_bf16(self.device):
                continue
            a = torch.randn(size, size, dtype=dtype, device=self.device)
            ((seconds, _),) = self.time([lambda a=a: a @ a], 30, 5)
            self.rates[name] = 2 * size**3 / seconds
            # oneDNN's convolutions are faster than the matrix product of fp32 on some processors.
            images = torch.randn(128, 128, 16, 16, dtype=dtype, device=self.device)
            weight = torch.randn(128, 128, 3, 3, dtype=dtype, device=self.device)
            convolve = functools.partial(torch.conv2d, images, weight, padding=1)
            ((seconds, _),) = self.time([convolve], 30, 5)
            convolved = 2 * 128 * 128 * 128 * 9 * 256 / seconds
            self.add("machine", f"matrix product {name}", gflops_per_second=self.rates[name] / 1e9)
            self.add("machine", f"convolution {name}", gflops_per_second=convolved / 1e9)
            self.rates[name] = max(self.rates[name], convolved)
        source = torch.empty(2**26, device=self.device)
        target = torch.empty_like(source)
        ((seconds, _),) = self.time([lambda: target.copy_(source)], 30, 5)
        self.add("machine", "copy", gb_per_second=2 * source.nbytes / seconds / 1e9)

    def measure(self, what, actions, repeats, warm, flops=None, **more):
        """Measure the same thing of every contender: its name to what it does."""
        taken = self.time(list(actions.values()), repeats, warm)
        for contender, (seconds, mib) in zip(actions, taken, strict=True):
            self.add(
                what, contender, seconds=round(seconds, 5), peak_mib=round(mib), gflop=flops and
                round(flops / 1e9, 1), repeats=repeats, **more,
            )  # fmt: skip

    def add(self, what, contender, **more):
        self.rows.append({"what": what, "contender": contender, **more, **self.common})
        shown = {key: value for key, value in self.rows[-1].items() if key not in self.common}
        print(shown, flush=True)
        self.write()

    def write(self):
        table = pd.DataFrame(self.rows)
        if "seconds" in table:
            key = ["what", "network", "ipc", "classes"]
            first = table[table["contender"] == "plain"].set_index(key)["seconds"]
            first = first[~first.index.duplicated()]
            cells = [tuple(row) for row in table[key].values]
            table["times_faster_than_plain"] = [
                round(first[cell] / seconds, 3) if cell in first.index else None
                for cell, seconds in zip(cells, table["seconds"], strict=True)
            ]
            rates = ["bf16" if "bf16" in contender else "fp32" for contender in table["contender"]]
            table["share_of_rate"] = [
                round(gflop * 1e9 / seconds / self.rates[rate], 3) if rate in self.rates else None
                for gflop, seconds, rate in zip(
                    table["gflop"], table["seconds"], rates, strict=True
                )
            ]
        table.to_csv(self.out.with_suffix(".csv"), index=False)


def has_bf16(device):
    """A processor without kernels for it would take hours."""
    return device.type == "cuda" or devices.fast_bfloat16()


def synchronise(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device):
    """Let the peak memory begin anew; return the MiB held now."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return devices.peak_memory_mib(device)


def count(action):
    with FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops()


def draw(path):
    """Bars of how many times faster than the plain loop, and lines of how the cost grows."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    table = pd.read_csv(path.with_suffix(".csv"))
    figure, axes = pyplot.subplots(1, 4, figsize=(16, 4), layout="constrained")
    ratios = table[table["what"].isin(["outer step", "iteration", "evaluation"])]
    ratios = ratios[ratios["times_faster_than_plain"].notna() & (ratios["contender"] != "plain")]
    labels = ratios["what"] + ", ipc " + ratios["ipc"].astype(int).astype(str)
    pivot = ratios.assign(label=labels).pivot_table(
        index="label", columns="contender", values="times_faster_than_plain", sort=False
    )
    pivot.plot.barh(ax=axes[0], width=0.8)
    axes[0].axvline(1, color="black", linewidth=1)
    axes[0].set(xlabel="times faster than the plain loop", ylabel="")
    axes[0].invert_yaxis()
    axes[0].legend(fontsize=7)
    own = table[(table["what"] == "outer step") & (table["contender"] == "dclib")]
    usual = own["network"].mode()[0]
    groups = [
        ("ipc", own[(own["network"] == usual) & (own["classes"] == own["classes"].max())]),
        ("classes", own[(own["network"] == usual) & (own["ipc"] == 1)]),
        ("width", own[(own["ipc"] == 1) & (own["classes"] == own["classes"].max())]),
    ]
    for axis, (name, rows) in zip(axes[1:], groups, strict=True):
        rows = rows.drop_duplicates(["network", "ipc", "classes"]).sort_values(name)
        axis.plot(rows[name], rows["seconds"], marker="o")
        axis.set(xlabel=name, ylabel="seconds for one outer step", ylim=(0, None))
    figure.savefig(path.with_suffix(".png"), dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="MNIST")
    parser.add_argument("--network", default="ConvNet")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--whole", type=int, nargs="*", help="ipc of whole iterations: 1, 10")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", type=int, help="of the evaluation: 20 on a GPU, else 2")
    parser.add_argument("--epochs", type=int, help="of the evaluation: 300 on a GPU, else 10")
    parser.add_argument("--out", type=Path, help="without the ending")
    options = parser.parse_args()
    data = sources.read({"name": options.dataset, "source": options.dataset})
    kind = options.device.split(":")[0]
    on_gpu = kind == "cuda" or (kind == "auto" and torch.cuda.is_available())
    if options.threads:
        torch.set_num_threads(options.threads)
    whole = [1, 10] if options.whole is None else options.whole
    settings = evaluation.Settings(
        models=options.models or (20 if on_gpu else 2),
        epochs=options.epochs or (300 if on_gpu else 10),
        curve_points=1,
    )
    device = devices.choose("cuda") if on_gpu else torch.device("cpu")
    bench = Bench(device, options.out or RESULTS / f"speed_{device.type}")
    bench.common = {
        "dataset": data.name,
        "device": devices.describe(device),
        "torch": torch.__version__,
        "commit": subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True
        ).stdout.strip(),
    }  # fmt: skip

    def run(contenders):
        for ipc in options.ipc:
            made = {
                name: make(data, options.network, ipc, device) for name, make in contenders.items()
            }
            named = {"network": options.network, "ipc": ipc, "classes": data.num_classes}
            if "plain" in made:
                flops[ipc] = count(made["plain"].outer_step), count(made["plain"].training_step)
            outer_flops, training_flops = flops[ipc]
            bench.measure(
                "outer step", {name: one.outer_step for name, one in made.items()},
                options.repeats, warm, flops=outer_flops, **named,
            )  # fmt: skip
            bench.measure(
                "training step", {name: one.training_step for name, one in made.items()},
                10 * options.repeats, warm, flops=training_flops, **named,
            )  # fmt: skip
            if ipc in whole:
                outer, inner = Settings().loops(ipc)
                steps = inner * (outer - 1) * -(-ipc * data.num_classes // 256)
                short = ipc == 1 or on_gpu
                bench.measure(
                    "iteration",
                    {name: one.iteration for name, one in made.items() if not name.endswith(other)},
                    options.repeats if short else 1, warm if short else 0,
                    flops=outer * outer_flops + steps * training_flops, **named,
                )  # fmt: skip
        bench.measure(
            "evaluation",
            {name: evaluations[name] for name in contenders if not name.endswith(other)},
            1 if on_gpu else options.repeats, warm=0, network=options.network, ipc=10,
            classes=data.num_classes, models=settings.models, epochs=settings.epochs,
        )  # fmt: skip

    def evaluating(act, **more):
        return functools.partial(
            act, data, options.network, device, dataclasses.replace(settings, **more)
        )

    flops, warm = {}, 3 if on_gpu else 1
    other = "by_class" if on_gpu else "batched"
    contenders = {
        "dclib": Engine,
        "dclib bf16": functools.partial(Engine, precision="bf16"),
        f"dclib {other}": functools.partial(Engine, engine=other),
    }
    if not has_bf16(device):
        del contenders["dclib bf16"]
    evaluations = {
        "plain": evaluating(evaluate_plainly),
        "plain, memory kept": evaluating(evaluate_plainly),
        "dclib": evaluating(evaluate),
        "dclib bf16": evaluating(evaluate, precision="bf16"),
    }
    if on_gpu:
        bench.machine()
        run({"plain": Plain, **contenders})
    else:
        run({"plain": Plain})
        devices.choose("cpu", options.threads)
        bench.machine()
        run({"plain, memory kept": Plain, **contenders})
    for classes in (2, 5):
        part = first_classes(data, classes)
        made = Engine(part, options.network, 1, device)
        bench.measure(
            "outer step", {"dclib": made.outer_step}, options.repeats, warm=3,
            network=options.network, ipc=1, classes=classes,
        )  # fmt: skip
    for width in (32, 64, 128, 256):
        made = Engine(data, f"ConvNet-width{width}", 1, device)
        bench.measure(
            "outer step", {"dclib": made.outer_step}, options.repeats, warm=3,
            network=f"ConvNet-width{width}", ipc=1, classes=data.num_classes, width=width,
        )  # fmt: skip
    draw(bench.out)
    say_which_is_faster(bench.rows)


def say_which_is_faster(rows):
    """Print whether bfloat16 is the faster one here; nothing chooses it by itself."""
    seconds = {
        row["contender"]: row["seconds"]
        for row in rows
        if row["what"] == "outer step" and row.get("width") is None and row["ipc"] == 1
        and row["contender"] in ("dclib", "dclib bf16")
    }  # fmt: skip
    if len(seconds) == 2:
        ratio = seconds["dclib"] / seconds["dclib bf16"]
        faster, slower = ("bf16", "fp32") if ratio > 1 else ("fp32", "bf16")
        print(
            f"On this machine {faster} is {max(ratio, 1 / ratio):.2f} times as fast as {slower} "
            "(an outer step, ipc 1). Precision is part of what a result is: it is never chosen "
            "for you, `precision` in the config sets it."
        )
    else:
        print("This processor has no kernels for bf16: it was left out, fp32 is the faster one.")


def first_classes(data, classes):
    train, test = data.train_labels < classes, data.test_labels < classes
    return ImageDataset(
        data.name, data.train_images[train], data.train_labels[train], data.test_images[test],
        data.test_labels[test], data.mean, data.std, data.class_names[:classes],
    )  # fmt: skip


if __name__ == "__main__":
    main()
