"""Is the CUDA path right on this card, and what does it cost? Random data, no files are needed.

Usage: PYTHONPATH=.:tests python benchmarks/gpu_check.py [--minutes 8] [--out FOLDER]

Checks run one after another, correctness first, and each leaves a line in gpu_check.jsonl. What is
there already, of the same code, card and PyTorch, is not done again: call it as often as it needs.
gpu_check.md sets what was measured beside what follows from counted bytes. The exit
status is 1 if a check failed and 3 if some are left. Without a GPU all of it runs in small, which
shows that the checks themselves work.
"""

import argparse
import contextlib
import copy
import gc
import itertools
import json
import statistics
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch
from reference import evaluation as plain_evaluation
from reference import gradient_matching as plain
from torch.nn import functional

from dclib import codebase, devices, graphs, provenance
from dclib.applications.evaluation.evaluate import Evaluation
from dclib.applications.evaluation.settings import Settings as EvaluationSettings
from dclib.data.datasets import ImageDataset
from dclib.data.synthetic import SyntheticSet, class_labels
from dclib.methods import matching
from dclib.methods.dc import method as dc
from dclib.methods.dc.settings import Settings
from dclib.methods.dd import method as dd
from dclib.networks import plans
from dclib.seeding import Streams, global_seed
from dclib.training.ensembles import Ensemble
from dclib.training.examples import Examples
from dclib.training.kinds import KINDS
from dclib.training.recipes import ordinary
from dclib.training.sgd import SGD

ROOT = Path(__file__).resolve().parent.parent
GPU = torch.cuda.is_available()
WIDTH, SIDE, REAL, TEST, MODELS = (
    ("ConvNet", 32, 256, 10_000, 20) if GPU else ("ConvNet-width4", 8, 6, 40, 3)
)
NETWORKS = (
    ("MLP", "LeNet", "ConvNet", "ConvNet-batchnorm", "ConvNet-layernorm", "AlexCifarNet", "VGG11BN",
     "ResNet18BN_AP")
    if GPU else ("MLP", "ConvNet-width4-batchnorm")
)  # fmt: skip
# Of an image gradient, relative to float64 on the CPU.
TOLERANCE = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 0.3}


class Recordings:
    """Every recording of a block; with `eager` nothing is recorded."""

    def __init__(self, eager=False):
        self.eager, self.made = eager, []

    def __enter__(self):
        self._usual = graphs.Repeated
        graphs.Repeated = self._make
        return self

    def __exit__(self, *error):
        graphs.Repeated = self._usual

    def _make(self, function, device):
        made = function if self.eager else self._usual(function, device)
        self.made.append(made)
        return made

    def all_recorded(self):
        return self.eager or not GPU or all(one.recorded for one in self.made)


def data(channels=3, side=SIDE, per_class=600 if GPU else 12):
    generator = torch.Generator().manual_seed(0)

    def images(n):
        shape = (n, channels, side, side)
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    labels, test_labels = torch.arange(10 * per_class) % 10, torch.arange(TEST) % 10
    normal = (0.5,) * channels, (0.25,) * channels
    return ImageDataset(
        "random", images(len(labels)), labels, images(TEST), test_labels, *normal,
        tuple("abcdefghij"),
    )  # fmt: skip


def build(name, seed=0, channels=3, side=SIDE):
    with global_seed(seed, torch.device("cpu")):
        return plans.build(name, channels, (side, side), 10)


def milliseconds(action, repeats=20, warm=4):
    """Return the median time of a call."""
    for _ in range(warm if GPU else 1):
        action()
    if not GPU:
        started = time.perf_counter()
        action()
        return 1e3 * (time.perf_counter() - started)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    torch.cuda.synchronize()
    for mark in marks[:-1]:
        mark.record()
        action()
    marks[-1].record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in itertools.pairwise(marks))


# --- is it right -------------------------------------------------------------------------------


def condensed(method, iterations=5):
    """Return the images after a few iterations, on the CPU, and whether all was recorded."""
    with Recordings() as recorded:
        state = method.start(Streams("x"))
        for _ in range(iterations):
            method.step(state)
    return state.images.double().cpu(), recorded.all_recorded()


def same_bytes(make):
    """Recorded twice, and launched one by one: the same bytes, finite, and really recorded."""
    first, recorded = condensed(make())
    second, _ = condensed(make())
    with Recordings(eager=True):
        eager = make()
        state = eager.start(Streams("x"))
        for _ in range(5):
            eager.step(state)
    one_by_one = state.images.double().cpu()
    return {
        "recorded": bool(recorded),
        "same_again": torch.equal(first, second),
        "same_as_eager": torch.equal(first, one_by_one),
        "finite": bool(first.isfinite().all()),
    }


def check_dc(network, precision):
    settings = Settings(precision=precision, outer_steps=3, inner_epochs=2, real_batch=REAL // 4)
    side = 32 if network in ("VGG11BN", "AlexCifarNet", "LeNet", "ResNet18BN_AP") else SIDE
    return same_bytes(lambda: dc.GradientMatching(network, settings, data(side=side), 2, DEVICE))


def check_siamese(kind):
    settings = Settings(outer_steps=2, inner_epochs=1, real_batch=REAL // 4, augmentation=(kind,))
    return same_bytes(lambda: dc.GradientMatching("ConvNet", settings, data(), 2, DEVICE))


def check_dd(network):
    settings = dd.Settings(real_batch=REAL, augment_real=False)
    shape = (1, 28) if network == "LeNet" else (3, SIDE)
    return same_bytes(lambda: dd.DatasetDistillation(network, settings, data(*shape), 2, DEVICE))


def check_against_float64(network, precision):
    """The image gradient of a matching step beside the plain loop's in float64 on the CPU.

    Classes differ in size, and no weight, bias or statistic is what a fresh network has.
    """
    generator = torch.Generator().manual_seed(1)
    side = 32 if network in ("VGG11BN", "AlexCifarNet", "LeNet", "ResNet18BN_AP") else SIDE
    real = [torch.randn(n, 3, side, side, generator=generator) for n in (8, 5, 1)]
    own = torch.randn(3, 2, 3, side, side, generator=generator)
    model = build(network, side=side)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data += 0.3 * torch.rand(tensor.shape, generator=generator)
    for layer in plans.batch_norms(model):
        layer.eval()
    _, exact = plain.match(
        copy.deepcopy(model).double(), [images.double() for images in real], own.double()
    )
    model.to(DEVICE)
    with devices.precision(DEVICE, precision):
        _, found = matching.match(
            model, [images.to(DEVICE) for images in real], own.to(DEVICE), engine="batched"
        )
    error = float((found.double().cpu() - exact).norm() / exact.norm())
    return {"relative_error": error, "allowed": TOLERANCE[precision],
            "within": error <= TOLERANCE[precision]}  # fmt: skip


def check_training(augmentation_way, kinds):
    """Networks trained side by side in fp32 beside the plain loop in float64 on the CPU.

    Over a drop of the learning rate, a restart of the momentum, and a smaller last batch.
    """
    whole = data(per_class=12)
    images = torch.randn(20, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    labels = class_labels(10, 2)
    settings = EvaluationSettings(
        epochs=6, batch=8, precision="fp32", augmentation_way=augmentation_way, augmentation=kinds
    )
    examples = Examples(images.to(DEVICE), labels.to(DEVICE), whole.to(DEVICE))
    networks = [build(WIDTH, seed) for seed in range(MODELS)]
    kept = [copy.deepcopy(network) for network in networks]
    with Recordings() as recorded, devices.precision(DEVICE, "fp32"):
        recipe = ordinary.create(examples, settings, {})
        trained = recipe.train(
            [network.to(DEVICE) for network in networks],
            [Streams("model", seed) for seed in range(MODELS)],
            lambda ensemble: None,
        )
        made = [
            torch.cat([p.detach().double().cpu().flatten() for p in network.parameters()])
            for network in trained.each()
        ]
    errors = []
    for seed in (0, MODELS - 1):
        before = torch.cat([p.detach().double().flatten() for p in kept[seed].parameters()])
        exact = kept[seed].double()
        plain_evaluation.train(exact, images.double(), labels, settings, Streams("model", seed))
        after = torch.cat([p.detach().flatten() for p in exact.parameters()])
        errors.append(float((made[seed] - after).norm() / (after - before).norm()))
    return {
        "recorded": bool(recorded.all_recorded()),
        "error_of_the_way": max(errors),
        "within": max(errors) <= 0.02,
    }


def evaluated(together, precision, kinds, eager=False):
    settings = EvaluationSettings(
        models=MODELS, epochs=6, curve_points=2, precision=precision, augmentation=kinds
    )
    whole = data()
    images = torch.randn(10, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    training = SyntheticSet.like(whole, images, class_labels(10, 1))
    with Recordings(eager) as recorded:
        made = Evaluation(WIDTH, settings, whole, training, DEVICE)
        made.together = together
        state = made.start(Streams("y"))
        for _ in range(made.iterations):
            made.step(state)
    return state.rows[:, :3].clone(), recorded.all_recorded()


def check_evaluation(precision, kinds):
    """Side by side and alone, recorded and not: the same but for rounding and near ties."""
    side, recorded = evaluated(MODELS, precision, kinds)
    again, _ = evaluated(MODELS, precision, kinds)
    eager, _ = evaluated(MODELS, precision, kinds, eager=True)
    alone, alone_recorded = evaluated(1, precision, kinds)
    # An image whose logits are nearly equal may fall to either side, so losses are compared.
    apart = float((side[:, 2] / alone[:, 2] - 1).abs().max())
    return {
        "recorded": bool(recorded and alone_recorded),
        "same_again": torch.equal(side, again),
        "same_as_eager": torch.equal(side, eager),
        "loss_alone_differs_by": apart,
        "within": apart <= {"fp32": 1e-3, "tf32": 5e-2, "bf16": 0.2}[precision],
    }


# --- what does it cost -------------------------------------------------------------------------


def time_machine():
    """A copy, and the layers of a ConvNet by layout, groups and type."""
    found = {}
    source = torch.empty(2**28 if GPU else 2**16, device=DEVICE)
    target = torch.empty_like(source)
    found["copy TB/s"] = 2 * source.nbytes / milliseconds(lambda: target.copy_(source)) / 1e9
    del source, target
    channels, images, side = (128, 100, 16) if GPU else (4, 4, 4)
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        for what, n, groups in (
            ("one network", images, 1), ("networks side by side", images, MODELS),
            ("a real batch", 10 * REAL, 1),
        ):  # fmt: skip
            maps = torch.randn(n, groups * channels, side, side, device=DEVICE, dtype=dtype)
            weight = torch.randn(groups * channels, channels, 3, 3, device=DEVICE, dtype=dtype)
            flop = 2 * n * groups * channels**2 * 9 * side**2

            def back(mask, maps=maps, weight=weight, groups=groups):
                return torch.ops.aten.convolution_backward(
                    maps, maps, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], groups, mask
                )

            for direction, action in (
                ("forward", lambda m=maps, w=weight, g=groups: functional.conv2d(
                    m, w, padding=1, groups=g)),
                ("to images", lambda back=back: back([True, False, False])),
                ("to weights", lambda back=back: back([False, True, False])),
            ):  # fmt: skip
                found[f"{name} {what}, {direction}, TFLOP/s"] = flop / milliseconds(action) / 1e9
            found[f"{name} {what}, group norm, TB/s"] = (
                2 * maps.nbytes / milliseconds(
                    lambda m=maps: functional.group_norm(m, m.shape[1])) / 1e9
            )  # fmt: skip
    return found


def time_matching(ipc):
    """An outer step of the plain loop and of ours: launched one by one, and recorded."""
    whole, found = data(), {}
    pixels = whole.normalise(whole.train_images).to(DEVICE)
    real = [pixels[whole.train_labels == label][:REAL] for label in range(10)]
    own = torch.randn(10, ipc, 3, SIDE, SIDE, device=DEVICE)
    model = build(WIDTH).to(DEVICE)
    found["plain"] = milliseconds(lambda: plain.match(model, real, own), 5, 2)
    for precision in ("tf32", "bf16"):
        settings = Settings(precision=precision, real_batch=REAL)
        method = dc.GradientMatching(WIDTH, settings, whole, ipc, DEVICE)
        steps = dc.Steps(method, method.start(Streams("x")))
        steps.match()
        with devices.precision(DEVICE, precision):
            found[f"{precision} one by one"] = milliseconds(steps._match_once, 5, 2)
            found[precision] = milliseconds(steps.match)
    return found


def time_iteration(ipc):
    """A whole iteration of the paper's at `ipc`."""
    outer, inner = Settings().loops(ipc) if GPU else (2, 2)
    whole, found = data(), {}

    def by_plain_loop():
        plain.condense(
            whole, ipc, Settings(real_batch=REAL), Streams("x"), network=WIDTH, iterations=1,
            outer=outer, inner=inner, dtype=torch.float32, device=str(DEVICE),
        )  # fmt: skip

    found["plain"] = milliseconds(by_plain_loop, 2, 1)
    for precision in ("tf32", "bf16"):
        settings = Settings(
            precision=precision, real_batch=REAL, outer_steps=outer, inner_epochs=inner
        )
        method = dc.GradientMatching(WIDTH, settings, whole, ipc, DEVICE)
        state = method.start(Streams("x"))
        found[precision] = milliseconds(
            lambda method=method, state=state: float(method.step(state)["loss"]), 5, 3
        )
    return found


def time_training(images):
    """A step of training: one network, and all side by side, by network."""
    whole, found = data(), {}
    made = SyntheticSet.like(
        whole, torch.randn(images, 3, SIDE, SIDE), class_labels(10, images // 10)
    )
    for precision in ("tf32", "bf16"):
        for models in (1, MODELS):
            settings = EvaluationSettings(models=models, precision=precision)
            evaluation = Evaluation(WIDTH, settings, whole, made, DEVICE)
            fresh = [build(WIDTH, seed).to(DEVICE) for seed in range(models)]
            random = [Streams(seed) for seed in range(models)]
            sgd = SGD(Ensemble(fresh), evaluation.examples, settings)
            with devices.precision(DEVICE, precision):
                for _ in range(3):
                    (step,) = sgd.epoch(1, random)
                found[f"{precision} {models} networks"] = milliseconds(step._repeated) / models
                name = f"{precision} {models} networks, one by one"
                found[name] = milliseconds(step._once) / models
    return found


def time_evaluation(ipc):
    """20 networks of 300 epochs, beside one of the plain loop, times 20."""
    whole, found = data(), {}
    images = torch.randn(10 * ipc, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    training = SyntheticSet.like(whole, images, class_labels(10, ipc))
    settings = EvaluationSettings(models=MODELS, epochs=300 if GPU else 2, curve_points=1)
    tested = whole.normalise(whole.test_images).to(DEVICE), whole.test_labels.to(DEVICE)

    def by_plain_loop():
        plain_evaluation.evaluate(
            build(WIDTH).to(DEVICE), images.to(DEVICE), training.labels.to(DEVICE), *tested,
            settings, torch.Generator().manual_seed(0),
        )  # fmt: skip

    found["plain"] = MODELS * milliseconds(by_plain_loop, 1, 1)
    for precision in ("tf32", "bf16"):
        settings = EvaluationSettings(
            models=MODELS, epochs=settings.epochs, curve_points=1, precision=precision
        )

        def evaluate(settings=settings):
            made = Evaluation(WIDTH, settings, whole, training, DEVICE)
            state = made.start(Streams("y"))
            for _ in range(made.iterations):
                made.step(state)

        found[precision] = milliseconds(evaluate, 1, 1)
    return found


def time_dd(network):
    """An iteration of dd at 2 images per class, recorded and one by one."""
    settings, found = dd.Settings(augment_real=False), {}
    shape = (1, 28) if network == "LeNet" else (3, SIDE)
    for name, eager in (("recorded", False), ("one by one", True)):
        with Recordings(eager):
            method = dd.DatasetDistillation(network, settings, data(*shape), 2, DEVICE)
            state = method.start(Streams("x"))
            found[name] = milliseconds(lambda m=method, s=state: float(m.step(s)["loss"]), 5, 3)
    return found


def checks():
    """Return every check by name, most wanted first."""
    found = {}
    precisions = ("fp32", "tf32", "bf16") if GPU else ("fp32", "bf16")
    for network in NETWORKS:
        for precision in precisions:
            name = f"{network} {precision}"
            found[f"gradient: {name}"] = lambda n=network, p=precision: check_against_float64(n, p)
            found[f"bytes: dc {name}"] = lambda n=network, p=precision: check_dc(n, p)
    for precision in precisions:
        for kinds in ((), ("crop", "scale", "rotate", "noise")):
            found[f"bytes: evaluation {precision} {' '.join(kinds)}".strip()] = (
                lambda p=precision, k=kinds: check_evaluation(p, k)
            )
    for way, kinds in (("dc", ()), ("dc", ("crop", "scale", "rotate")), ("dsa", KINDS["dsa"])):
        found[f"training: {way} {' '.join(kinds)}".strip()] = lambda w=way, k=kinds: check_training(
            w, k
        )
    for network in ("LeNet", "AlexCifarNet") if GPU else ("LeNet",):
        found[f"bytes: dd {network}"] = lambda n=network: check_dd(n)
    for kind in ("scale", "rotate"):
        found[f"bytes: siamese {kind}"] = lambda k=kind: check_siamese(k)
    found["time: machine"] = time_machine
    for ipc in (1, 10, 50) if GPU else (1,):
        found[f"time: outer step, ipc {ipc}"] = lambda i=ipc: time_matching(i)
    for ipc in (1, 10) if GPU else (1,):
        found[f"time: training step, {10 * ipc} images"] = lambda i=ipc: time_training(10 * i)
        found[f"time: evaluation, ipc {ipc}"] = lambda i=ipc: time_evaluation(i)
    for ipc in (1, 10, 50) if GPU else (1,):
        found[f"time: iteration, ipc {ipc}"] = lambda i=ipc: time_iteration(i)
    for network in ("LeNet", "AlexCifarNet") if GPU else ("LeNet",):
        found[f"time: dd {network}"] = lambda n=network: time_dd(n)
    return found


# --- keeping and telling -----------------------------------------------------------------------


def counts():
    """Return what tests/unit/test_cuda_path.py counts, by name; empty where it cannot count."""
    script = ROOT / "tests/unit/test_cuda_path.py"
    done = subprocess.run([sys.executable, script, "counts"], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return {key: value for line in lines for key, value in json.loads(line).items()}


def predicted(name, contender, counted, terabytes):
    """Return milliseconds by counted bytes at the measured rate of copies, or None."""
    kind, _, detail = name.removeprefix("time: ").partition(", ")
    key = {
        "outer step": f"match, {detail}: "
        + ("plain loop" if contender == "plain" else f"dclib {contender}"),
        "training step": f"training step of {detail}: {contender.removeprefix('tf32 ')}",
    }.get(kind, "")
    precision, _, networks = contender.partition(" ")
    if kind == "training step" and precision == "bf16":
        key = f"training step of {detail}: {networks}, bf16"
    if key not in counted or not terabytes:
        return None
    shared = int(networks.split()[0]) if kind == "training step" else 1
    return counted[key]["gigabytes"] / terabytes / shared


def report(rows, folder):
    counted = counts() if GPU else {}
    terabytes = rows.get("time: machine", {}).get("found", {}).get("copy TB/s")
    lines = ["# gpu-check", "", f"{devices.describe(DEVICE)}, PyTorch {torch.__version__}", ""]
    lines += ["| check | outcome |", "|---|---|"]
    for name, row in rows.items():
        if not name.startswith("time"):
            said = ", ".join(f"{key} {value}" for key, value in row["found"].items())
            lines.append(f"| {name} | {'right' if row['right'] else '**WRONG**'}: {said} |")
    lines += ["", "Milliseconds, the median; predicted: counted bytes at the rate of copies.", ""]
    lines += ["| what | contender | measured | predicted | plain / this |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        if name.startswith("time"):
            for contender, value in row["found"].items():
                guess = predicted(name, contender, counted, terabytes)
                plain_time = row["found"].get("plain")
                if isinstance(value, str):  # what it failed of
                    lines.append(f"| {name.removeprefix('time: ')} | **{value}** | | | |")
                    continue
                lines.append(
                    f"| {name.removeprefix('time: ')} | {contender} | {value:.4g} | "
                    f"{'' if guess is None else f'{guess:.4g}'} | "
                    f"{'' if plain_time is None else f'{plain_time / value:.2f}'} |"
                )
    Path(folder, "gpu_check.md").write_text("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="no check begins after them")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "gpu_check.jsonl"
    ways = [f"dclib.training.augmentation.{way}" for way in ("dc", "dsa")]
    code = [
        codebase.digest(Path(__file__), "dclib.training.recipes.ordinary", *ways),
        *(path.read_text() for path in sorted((ROOT / "tests/reference").glob("*.py"))),
    ]
    what = [devices.describe(DEVICE), torch.__version__, provenance.digest(code)]
    every_row, begun = [], time.monotonic()
    for line in kept.read_text().splitlines() if kept.exists() else ():
        with contextlib.suppress(ValueError):  # the last line of a killed call
            every_row.append(json.loads(line))
    kept.write_text("".join(json.dumps(row) + "\n" for row in every_row))
    rows = {row["check"]: row for row in every_row if row["what"] == what}
    every = checks()
    # What has not been done comes first, and what was wrong last.
    for name in sorted(every, key=lambda name: name in rows):
        check = every[name]
        if name in rows and rows[name]["right"]:
            continue
        if time.monotonic() - begun > 60 * options.minutes:
            break
        started = time.monotonic()
        try:
            found = check()
            right = all(value for value in found.values() if isinstance(value, bool))
        except Exception as error:
            traceback.print_exc()
            found, right = {"error": f"{type(error).__name__}: {error}"[:300]}, False
        row = {"check": name, "what": what, "right": right, "found": found,
               "seconds": round(time.monotonic() - started, 2)}  # fmt: skip
        rows[name] = row
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{'right' if right else 'WRONG'} {name} ({row['seconds']} s): {found}", flush=True)
        if GPU:
            gc.collect()
            with contextlib.suppress(RuntimeError):  # a card that has failed says so in every check
                torch.cuda.empty_cache()
    rows = {name: rows[name] for name in every if name in rows}
    report(rows, options.out)
    wrong = [name for name, row in rows.items() if not row["right"]]
    left = len(every) - len(rows)
    print(f"{len(rows)} of {len(every)} checks are done, {len(wrong)} wrong")
    if not GPU:
        print("There is no GPU: this was a dry run in small, and says nothing of the CUDA path.")
    if left:
        print(f"{left} are left: call it again")
    sys.exit(1 if wrong else 3 if left else 0)


DEVICE = devices.choose("cuda" if GPU else "cpu")

if __name__ == "__main__":
    main()
