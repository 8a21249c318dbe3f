"""Time and memory of condensing and evaluating, dclib's engines beside the plain loop.

Usage: PYTHONPATH=.:tests python benchmarks/speed.py [--dataset MNIST] [--whole 1 10] ...

Everything is measured in one process, on the same data and from the same random streams. The
plain loop is the one in tests/reference. On a CPU it is timed twice: as it would run as a script by
itself, and with the memory allocator set up as dclib sets it up (`plain, memory kept`). Writes
benchmarks/results/speed_{device}.csv and .png.
"""

import argparse
import ctypes
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

from dclib import devices, evaluation, networks, readers
from dclib.datasets import ImageDataset
from dclib.methods import coresets
from dclib.methods.gradient_matching import GradientMatching, Settings, _Steps, loops
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
        outer, inner = loops(self.ipc)
        return plain.condense(
            self.data, self.ipc, Settings(), Streams("benchmark"), network=self.name,
            iterations=1, outer=outer, inner=inner, dtype=torch.float32, device=self.device,
        )[0]  # fmt: skip


class Engine:
    """The same of dclib, with one engine in one precision."""

    def __init__(self, data, network, ipc, device, engine="auto", precision="tf32"):
        settings = Settings(engine=engine, precision=precision)
        self.method = GradientMatching(network, settings, device)
        self.state = self.method.start(data, ipc, Streams("benchmark"))
        self.steps = _Steps(self.method, self.state)
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
    chosen = coresets.random(data, 10, Streams("benchmark"))
    images, labels = chosen.images.to(device), chosen.labels.to(device)
    tested = data.normalise(data.test_images).to(device), data.test_labels.to(device)
    for _ in range(settings.models):
        model = build(data, network).to(device)
        plain_evaluation.evaluate(model, images, labels, *tested, settings, seeded())


def evaluate(data, network, device, settings):
    chosen = coresets.random(data, 10, Streams("benchmark"))
    made = evaluation.Evaluation(network, settings, data, chosen, device)
    state = made.start(Streams("benchmark"))
    for _ in range(made.steps):
        made.step(state)


class Bench:
    """Measures calls and keeps a row for each."""

    def __init__(self, device, out):
        self.device, self.out, self.rows = device, out, []
        self.rates, self.common = {}, {}

    def time(self, action, repeats, warm):
        """Return median seconds and MiB at the peak, those held before taken off."""
        for _ in range(warm):
            action()
        before = forget_peak(self.device)
        seconds = []
        for _ in range(repeats):
            synchronise(self.device)
            started = time.perf_counter()
            action()
            synchronise(self.device)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds), devices.peak_memory_mib(self.device) - before

    def machine(self):
        """Measure what the machine can do: matrix products and copies."""
        size = 8192 if self.device.type == "cuda" else 2048
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            a = torch.randn(size, size, dtype=dtype, device=self.device)
            seconds, _ = self.time(lambda a=a: a @ a, 5, 2)
            self.rates[name] = 2 * size**3 / seconds
            # oneDNN's convolutions are faster than the matrix product of fp32 on some processors.
            images = torch.randn(128, 128, 16, 16, dtype=dtype, device=self.device)
            weight = torch.randn(128, 128, 3, 3, dtype=dtype, device=self.device)
            seconds, _ = self.time(lambda i=images, w=weight: torch.conv2d(i, w, padding=1), 5, 2)
            convolved = 2 * 128 * 128 * 128 * 9 * 256 / seconds
            self.add("machine", f"matrix product {name}", gflops_per_second=self.rates[name] / 1e9)
            self.add("machine", f"convolution {name}", gflops_per_second=convolved / 1e9)
            self.rates[name] = max(self.rates[name], convolved)
        source = torch.empty(2**26, device=self.device)
        target = torch.empty_like(source)
        seconds, _ = self.time(lambda: target.copy_(source), 5, 2)
        self.add("machine", "copy", gb_per_second=2 * source.nbytes / seconds / 1e9)

    def measure(self, what, contender, action, repeats=3, warm=1, flops=None, **more):
        seconds, mib = self.time(action, repeats, warm)
        share = None
        if flops:
            rate = self.rates["bf16" if "bf16" in contender else "fp32"]
            share = round(flops / seconds / rate, 3)
        self.add(
            what, contender, seconds=round(seconds, 5), peak_mib=round(mib), gflop=flops and
            round(flops / 1e9, 1), share_of_rate=share, repeats=repeats, **more,
        )  # fmt: skip
        return seconds

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
        table.to_csv(self.out.with_suffix(".csv"), index=False)


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
    data = readers.read(options.dataset)
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

    def run(contender, make, evaluation_settings=None):
        for ipc in options.ipc:
            made = make(data, options.network, ipc, device)
            named = {"network": options.network, "ipc": ipc, "classes": data.num_classes}
            if contender == "plain" and ipc not in flops:
                flops[ipc] = count(made.outer_step), count(made.training_step)
            for what, action, operations in (
                ("outer step", made.outer_step, flops[ipc][0]),
                ("training step", made.training_step, flops[ipc][1]),
            ):
                bench.measure(
                    what, contender, action, options.repeats, warm=3 if on_gpu else 1,
                    flops=operations, **named,
                )  # fmt: skip
            if ipc in whole and not contender.endswith("batched"):
                outer, inner = loops(ipc)
                steps = inner * (outer - 1) * -(-ipc * data.num_classes // 256)
                bench.measure(
                    "iteration", contender, made.iteration, repeats=options.repeats
                    if ipc == 1 or on_gpu else 1, warm=ipc == 1 or on_gpu,
                    flops=outer * flops[ipc][0] + steps * flops[ipc][1], **named,
                )  # fmt: skip
        if evaluation_settings is not None:
            act = evaluate_plainly if contender.startswith("plain") else evaluate
            bench.measure(
                "evaluation", contender,
                lambda: act(data, options.network, device, evaluation_settings),
                repeats=1, network=options.network, ipc=10, classes=data.num_classes,
                models=settings.models, epochs=settings.epochs,
            )  # fmt: skip

    flops = {}
    bench.machine()
    run("plain", Plain, settings)
    if not on_gpu:
        devices.choose("cpu", options.threads)
        run("plain, memory kept", Plain, settings)
    run("dclib", Engine, settings)
    run(
        "dclib bf16",
        lambda *cell: Engine(*cell, precision="bf16"),
        evaluation.Settings(**{**vars(settings), "precision": "bf16"}),
    )
    other = "by_class" if on_gpu else "batched"
    run(f"dclib {other}", lambda *cell: Engine(*cell, engine=other))
    for classes in (2, 5):
        part = first_classes(data, classes)
        made = Engine(part, options.network, 1, device)
        bench.measure(
            "outer step", "dclib", made.outer_step, options.repeats, warm=3,
            network=options.network, ipc=1, classes=classes,
        )  # fmt: skip
    for width in (32, 64, 128, 256):
        made = Engine(data, f"ConvNet-width{width}", 1, device)
        bench.measure(
            "outer step", "dclib", made.outer_step, options.repeats, warm=3,
            network=f"ConvNet-width{width}", ipc=1, classes=data.num_classes, width=width,
        )  # fmt: skip
    draw(bench.out)


def first_classes(data, classes):
    train, test = data.train_labels < classes, data.test_labels < classes
    return ImageDataset(
        data.name, data.train_images[train], data.train_labels[train], data.test_images[test],
        data.test_labels[test], data.mean, data.std, data.class_names[:classes],
    )  # fmt: skip


if __name__ == "__main__":
    main()
