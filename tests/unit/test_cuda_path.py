"""The CUDA path without a GPU: everything runs on fake tensors of device cuda:0.

They have shapes, types and devices and no numbers (torch._subclasses.FakeTensorMode), and PyTorch
treats them as CUDA tensors: operations that mix devices raise, and so does whatever would have to
wait for the GPU (item(), nonzero(), a boolean mask). What is handed to `graphs.Repeated` is looked
at more closely from its second call on, since it will be recorded as a CUDA graph: no copy between
host and device may be in it. Operations, launches and bytes are counted and held to bounds. Nothing
here says what a kernel computes.

The scenarios run in a process of their own, because autograd on fake CUDA tensors needs a driver
unless PyTorch's object of CUDA hooks is told that there is no context (`_without_a_driver`), which
depends on its layout: where that is another one, the tests say that they did not run.

`python tests/unit/test_cuda_path.py counts` prints the table of counts.
"""

import collections
import contextlib
import ctypes
import itertools
import json
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[2]
SCENARIOS = (
    *(f"condense {network}" for network in
      ("ConvNet tf32", "ConvNet bf16", "MLP bf16", "LeNet bf16", "ConvNet-batchnorm bf16",
       "ConvNet-layernorm tf32", "ConvNet-layernorm bf16", "AlexCifarNet bf16")),
    *(f"evaluate {network}" for network in
      ("ConvNet 20 tf32 -", "ConvNet 3 bf16 idc:color,crop,cutout,flip,scale,rotate",
       "ConvNet 20 bf16 crop,scale,rotate,noise", "ConvNet 1 tf32 crop,scale",
       "ConvNet 3 tf32 teacher:color,flip",
       "MLP 3 bf16 -", "LeNet 3 bf16 -", "ConvNet-layernorm 3 bf16 -", "AlexCifarNet 3 bf16 -",
       "ResNet18BN_AP 3 bf16 crop,scale,rotate,noise")),
    *(f"embed {network}" for network in
      ("ConvNet tf32", "ConvNet bf16", "MLP bf16", "ConvNet-batchnorm bf16",
       "ConvNet-layernorm tf32", "ResNet18BN_AP bf16")),
    "distill LeNet", "distill AlexCifarNet", "reference ConvNet", "reference ResNet18BN_AP",
)  # fmt: skip
CUDA = torch.device("cuda:0")
POSSIBLE = "there are fake CUDA tensors"
_kept: list = []

# --- in pytest ---------------------------------------------------------------------------------


def alone(*arguments):
    """Return what a process of its own says of scenarios, by their name."""
    if torch.version.cuda is None:
        pytest.skip("PyTorch is built without CUDA")
    done = subprocess.run(
        [sys.executable, __file__, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    told = {key: value for line in lines for key, value in json.loads(line).items()}
    if not told.pop(POSSIBLE, False):
        pytest.skip(f"no fake CUDA tensors with this PyTorch: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr[-3000:]
    return told


@pytest.fixture(scope="session")
def outcomes():
    """What became of each scenario: an empty string, or what went wrong."""
    return alone(*SCENARIOS)


@pytest.fixture(scope="session")
def counts():
    """Operations, launches and bytes of what a GPU spends its time on."""
    return alone("counts")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_cuda_path_on_fake_tensors(outcomes, scenario):
    assert outcomes.get(scenario, "the process ended before it") == ""


@pytest.mark.parametrize("ipc", [1, 10, 50])
def test_matching_moves_few_bytes_and_launches_little(counts, ipc):
    plain = counts[f"match, ipc {ipc}: plain loop"]
    tf32, bf16 = (counts[f"match, ipc {ipc}: dclib {name}"] for name in ("tf32", "bf16"))
    assert tf32["gigabytes"] <= 1.1 * plain["gigabytes"]
    assert bf16["gigabytes"] <= 0.6 * plain["gigabytes"]
    assert tf32["launches"] <= plain["launches"] / 10
    assert bf16["launches"] <= plain["launches"] / (10 if ipc == 1 else 9.5)  # casts besides


@pytest.mark.parametrize("images", [10, 100])
def test_networks_side_by_side_move_what_they_would_alone(counts, images):
    alone, side = (counts[f"training step of {images} images: {n} networks"] for n in (1, 20))
    assert side["gigabytes"] <= 1.05 * 20 * alone["gigabytes"]
    assert side["launches"] <= 1.2 * alone["launches"]
    half = counts[f"training step of {images} images: 20 networks, bf16"]
    assert half["gigabytes"] <= 0.65 * side["gigabytes"]


def test_the_tests_of_networks_move_what_they_would_alone(counts):
    alone, all_of_them = (counts[f"test of 1024 images: {n} networks"] for n in (1, 20))
    assert all_of_them["gigabytes"] <= 1.05 * 20 * alone["gigabytes"]
    half = counts["test of 1024 images: 1 networks, bf16"]
    assert half["gigabytes"] <= 0.6 * alone["gigabytes"]


@pytest.mark.parametrize("models", [1, 3])
def test_no_autograd_node_of_evaluating_outlives_a_call(digits, models, monkeypatch):
    """A node that was made in a warm-up would draw its stream into the recording."""
    from dclib.applications.evaluation.settings import Settings
    from dclib.networks import plans
    from dclib.seeding import Streams
    from dclib.training.ensembles import Ensemble
    from dclib.training.examples import Examples
    from dclib.training.sgd import SGD

    fresh = [plans.build("ConvNet-width8-batchnorm", 1, (8, 8), 10) for _ in range(models)]
    examples = Examples(digits.train_images[:10], digits.train_labels[:10], digits)
    sgd = SGD(Ensemble(fresh), examples, Settings())
    random = [Streams(i) for i in range(models)]
    _outlives_nothing(lambda: list(sgd.epoch(1, random)), sgd.ensemble.parameters, monkeypatch)


def test_no_autograd_node_of_condensing_outlives_a_call(digits, monkeypatch):
    from dclib.methods.dc import method as dc
    from dclib.methods.dc.settings import Settings as OfDc
    from dclib.seeding import Streams

    for engine in ("batched", "by_class"):
        settings = OfDc(engine=engine, real_batch=4)
        method = dc.GradientMatching("ConvNet-width8", settings, digits, 2, torch.device("cpu"))
        steps = dc.Steps(method, method.start(Streams("x")))
        _outlives_nothing(steps.match, steps.parameters, monkeypatch)
        _outlives_nothing(lambda steps=steps: steps.train(1), steps.parameters, monkeypatch)


def _outlives_nothing(call, parameters, monkeypatch):
    marks = []

    class Mark:
        pass

    def marked(outputs, inputs, *args, **kwargs):
        for tensor in inputs if isinstance(inputs, (list, tuple)) else [inputs]:
            mark = Mark()
            torch.autograd.graph.get_gradient_edge(tensor).node.metadata["mark"] = mark
            marks.append(weakref.ref(mark))
        return grad(outputs, inputs, *args, **kwargs)

    grad = torch.autograd.grad
    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", marked)
        call()
    assert marks
    alive = [mark for mark in marks if mark() is not None]
    assert not alive, f"{len(alive)} of {len(marks)} nodes are still alive"


# --- the process -------------------------------------------------------------------------------


def _without_a_driver(slot: int = 4, entries: int = 48) -> None:
    """Let CUDAHooks.hasPrimaryContext say no; autograd asks it and would start the driver."""
    if torch.cuda.is_available():
        return
    library = ctypes.CDLL(f"{torch.__path__[0]}/lib/libtorch_cpu.so")
    get = library._ZN2at6detail12getCUDAHooksEv
    get.restype = ctypes.c_void_p
    table = ctypes.c_uint64.from_address(get())
    copy = (ctypes.c_uint64 * (entries + 2))(
        *[ctypes.c_uint64.from_address(table.value + 8 * i).value for i in range(-2, entries)]
    )
    no = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_byte)(lambda self, card: False)
    copy[slot + 2] = ctypes.cast(no, ctypes.c_void_p).value
    _kept.extend((no, copy))
    table.value = ctypes.addressof(copy) + 16
    torch._C._ensureCUDADeviceGuardSet()


class Watched:
    """In the place of graphs.Repeated."""

    inside = False

    def __init__(self, function, device):
        self.function, self.calls = function, 0

    def __call__(self):
        self.calls += 1
        Watched.inside = self.calls > 1
        try:
            self.function()
        finally:
            Watched.inside = False


FREE = {  # views, and memory that nothing is written to
    "view", "_unsafe_view", "expand", "permute", "transpose", "t", "slice", "select", "unsqueeze",
    "squeeze", "detach", "alias", "as_strided", "split", "split_with_sizes", "unbind", "diagonal",
    "_reshape_alias", "lift_fresh", "device", "unfold", "chunk", "empty", "empty_like", "new_empty",
}  # fmt: skip
PRODUCTS = {"mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward"}
# Kernels that an operation launches where they are not one: a convolution adds its bias, its way
# back has one for each gradient asked for, norms take statistics, then parameters, then the maps.
KERNELS = {
    "convolution": 2, "native_group_norm": 3, "native_layer_norm": 1, "native_batch_norm": 2,
    "native_group_norm_backward": 4, "native_layer_norm_backward": 3, "cat": 1,
}  # fmt: skip


class Watch(TorchDispatchMode):
    """Notes copies between host and device in what is recorded, products of two types; counts."""

    def __init__(self):
        super().__init__()
        self.faults, self.operations, self.bytes, self.launches = [], collections.Counter(), 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.split("::")[1]
        tensors = [t for t in pytree.tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        kinds = {t.device.type for t in tensors if t.dim() or func._schema.name == "aten::copy_"}
        if Watched.inside and "cpu" in kinds:
            self.faults.append(f"{name} on {[(str(t.device), tuple(t.shape)) for t in tensors]}")
        given = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        if name in PRODUCTS and len({t.dtype for t in given}) > 1:  # fake tensors let it pass
            self.faults.append(f"{name} of {[t.dtype for t in given]}")
        if "cuda" in kinds and name not in FREE:
            self.operations[name] += 1
            self.bytes += sum(t.numel() * t.element_size() for t in tensors if t.is_cuda)
            asked = sum(args[-1]) if name == "convolution_backward" else KERNELS.get(name, 1)
            self.launches += asked
        return result

    def counted(self):
        return {
            "operations": sum(self.operations.values()),
            "launches": self.launches,
            "gigabytes": round(self.bytes / 1e9, 3),
        }


@contextlib.contextmanager
def fake_cuda():
    """Within it, tensors are fake, and there is a card."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from dclib import graphs, memory, seeding
    from dclib.applications.evaluation import evaluate
    from dclib.data import datasets, synthetic
    from dclib.methods import learning
    from dclib.methods.dd import method as dd
    from dclib.teachers.reference import teacher
    from dclib.training.augmentation import dc as augmentation

    seeds = itertools.count()
    patches = pytest.MonkeyPatch()

    @contextlib.contextmanager
    def unseeded(seed, device):
        yield

    def fused(parameters, gradients, velocities, **_):  # the kernel is not known to fake tensors
        torch._foreach_add_(parameters, gradients)
        if velocities:
            torch._foreach_add_(velocities, gradients)

    def moved(module, *args):  # nn.Module.to swaps tensors, which fake ones do not like
        for each in module.modules():
            for key, value in list(each._parameters.items()):
                if value is not None:
                    each._parameters[key] = nn.Parameter(value.detach().to(*args))
            for key, value in list(each._buffers.items()):
                if value is not None:
                    each._buffers[key] = value.to(
                        *(args if value.is_floating_point() else args[:1])
                    )
        return module

    mode = FakeTensorMode(allow_non_fake_inputs=False)
    try:
        for owner, name, value in (
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "is_bf16_supported", lambda *a, **k: True),
            (torch.cuda, "current_device", lambda: 0),
            (torch.cuda, "is_current_stream_capturing", lambda: False),
            (FakeTensorMode, "avoid_device_init", property(lambda self: True)),
            (FakeTensorMode, "__deepcopy__", lambda self, memo: self),
            (nn.Module, "to", moved),
            (torch, "_fused_sgd_", fused),
            (augmentation, "noise",
             lambda shape, random, device: torch.empty(tuple(shape), device=device)),
            (graphs, "Repeated", Watched),
            (memory, "memory_budget", lambda device: 40 * 2**30),
            (seeding.Streams, "seed", lambda self, name: next(seeds)),
            (seeding.Streams, "next_seed", lambda self, name: 0),
            *((module, "global_seed", unseeded) for module in (learning, evaluate, dd, teacher)),
            (datasets.ImageDataset, "fingerprint", "fake"),
            (synthetic.SyntheticSet, "fingerprint", "fake"),
            (synthetic.SyntheticSet, "fitted", lambda self, data: self),
            (datasets.ImageDataset, "train_indices",
             property(lambda data: tuple(torch.empty(600, dtype=torch.int64) for _ in range(10)))),
        ):  # fmt: skip
            patches.setattr(owner, name, value, raising=name != "__deepcopy__")
        with mode:
            yield
    finally:
        patches.undo()
        datasets.channel_statistics.cache_clear()


def data_set(channels, size, train=6000, test=300):
    from dclib.data.datasets import ImageDataset

    (images, labels), tested = (
        (torch.empty(n, channels, *size, dtype=torch.uint8), torch.empty(n, dtype=torch.int64))
        for n in (train, test)
    )
    normal = (0.5,) * channels, (0.25,) * channels
    return ImageDataset("fake", images, labels, *tested, *normal, tuple("abcdefghij"))


def condense(network, precision):
    from dclib.methods.dc import method as dc
    from dclib.methods.dc.settings import Settings as OfDc
    from dclib.seeding import Streams

    with fake_cuda(), Watch() as watch:
        settings = OfDc(precision=precision, outer_steps=3, inner_epochs=2, real_batch=32)
        method = dc.GradientMatching(network, settings, data_set(3, (32, 32)), 2, CUDA)
        state = method.start(Streams("x"))
        for _ in range(2):  # the second is recorded
            loss = method.step(state)["loss"]
        result = method.result(state)
        assert (loss.device, loss.dtype) == (CUDA, torch.float32)
        assert (result.images.device, result.images.dtype) == (CUDA, torch.float32)
    assert not watch.faults, watch.faults[:3]


def embed(network, precision):
    from dclib.methods.dm import method as dm
    from dclib.methods.dm.settings import Settings as OfDm
    from dclib.seeding import Streams

    with fake_cuda(), Watch() as watch:
        settings = OfDm(precision=precision, real_batch=32)
        method = dm.DistributionMatching(network, settings, data_set(3, (32, 32)), 2, CUDA)
        state = method.start(Streams("x"))
        for _ in range(2):  # the second is recorded
            loss = method.step(state)["loss"]
        result = method.result(state)
        assert (loss.device, loss.dtype) == (CUDA, torch.float32)
        assert (result.images.device, result.images.dtype) == (CUDA, torch.float32)
    assert not watch.faults, watch.faults[:3]


def evaluation(network, models, precision, augmentation=(), images=20, batch=16, **more):
    from dclib.applications.evaluation import evaluate
    from dclib.data.synthetic import SyntheticSet
    from dclib.networks import plans as networks
    from dclib.training.examples import Examples

    settings = evaluate.Settings(
        models=models, epochs=4, curve_points=2, precision=precision,
        augmentation=augmentation, batch=batch, **more,
    )  # fmt: skip
    data, labels = data_set(3, (32, 32)), torch.empty(images, dtype=torch.int64)
    training = SyntheticSet.like(data, torch.empty(images, 3, 32, 32), labels)
    teacher = None
    if settings.labels == "teacher":
        teacher = networks.build(network, 3, (32, 32), 10).to(CUDA).eval()
    made = evaluate.Evaluation(network, settings, data, training, CUDA, teacher=teacher)
    assert isinstance(made.examples, Examples)
    return made


def evaluate(network, models, precision, kinds):
    from dclib import devices

    with fake_cuda(), Watch() as watch:
        way, _, kinds = kinds.rpartition(":")
        kinds = () if kinds == "-" else tuple(kinds.split(","))
        more = {"augmentation_way": way, "cutmix": 0.5} if way else {}
        if way == "teacher":
            more = {"augmentation_way": "dsa", "labels": "teacher"}
        made = evaluation(network, int(models), precision, kinds, **more)
        assert made.together == int(models)
        with devices.precision(CUDA, precision):
            rows, curve = made._train_and_test(list(range(int(models))))
        assert rows.device.type == curve.device.type == "cpu"
        assert rows.shape == (int(models), 3)
        assert curve.shape == (int(models), 2)
    assert not watch.faults, watch.faults[:3]


def distill(network):
    from torch._subclasses.fake_tensor import FakeTensor

    from dclib.methods.dd import method as dd
    from dclib.seeding import Streams

    shape = (1, (28, 28)) if network == "LeNet" else (3, (32, 32))
    waits = []

    class Done:
        value = 0

        def __iadd__(self, other):
            self.value += other
            return self

        def __int__(self):
            return self.value

    with fake_cuda(), pytest.MonkeyPatch.context() as patch, Watch() as watch:
        settings = dd.Settings(augment_real=shape[0] == 3)
        method = dd.DatasetDistillation(network, settings, data_set(*shape), 2, CUDA)
        state = method.start(Streams("x"))
        assert {t.device for n, t in state.state_dict().items() if n != "done"} == {CUDA}
        state.done = Done()
        patch.setattr(FakeTensor, "tolist", lambda t: waits.append(1) or [0.02] * t.numel())
        for _ in range(2):  # the second is recorded
            assert method.step(state)["loss"].device == CUDA
        assert method.result(state).parameters["learning_rates"].device == CUDA
    assert not watch.faults, watch.faults[:3]
    assert not waits, f"{len(waits)} waits in an iteration"


def reference(network):
    from dclib.seeding import Streams
    from dclib.teachers.reference import teacher

    with fake_cuda():
        data = data_set(3, (32, 32))
        training = teacher.Training(network, teacher.Settings(), data, CUDA)
        state = training.start(Streams("x"))
        state.done = type("", (), {"__int__": lambda self: 0, "__iadd__": lambda self, o: self})()
        assert training.step(state)["loss"].device == CUDA
        assert state.counts().device == CUDA
        features = teacher._in_batches(state.network.features, data, data.train_images[:9], CUDA)
        assert features.device == CUDA


def count():
    """Print what matching, a step of training and a test cost: ConvNet, 3x32x32, 10 classes."""
    sys.path[:0] = [str(ROOT / "tests")]
    from reference import gradient_matching as plain

    from dclib import devices
    from dclib.methods import matching
    from dclib.networks import plans

    def say(name, action, precision="tf32"):
        with devices.precision(CUDA, precision), Watch() as watch:
            action()
        assert not watch.faults, watch.faults[:3]
        print(json.dumps({name: watch.counted()}), flush=True)

    with fake_cuda():
        network = plans.build("ConvNet", 3, (32, 32), 10).to(CUDA)
        real = [torch.empty(256, 3, 32, 32, device=CUDA) for _ in range(10)]
        for ipc in (1, 10, 50):
            own = torch.empty(10, ipc, 3, 32, 32, device=CUDA)
            say(f"match, ipc {ipc}: plain loop", lambda own=own: plain.match(network, real, own))
            for precision in ("tf32", "bf16"):
                say(
                    f"match, ipc {ipc}: dclib {precision}",
                    lambda own=own: matching.match(network, real, own),
                    precision,
                )
        for images in (10, 100):
            for models, precision in ((1, "tf32"), (20, "tf32"), (20, "bf16")):
                made = evaluation("ConvNet", models, precision, (), images, images)
                from dclib.seeding import Streams
                from dclib.training.ensembles import Ensemble
                from dclib.training.sgd import SGD

                random = [Streams(i) for i in range(models)]
                fresh = [made._fresh_network(own) for own in random]
                sgd = SGD(Ensemble(fresh), made.examples, made.settings)
                (step,) = sgd.epoch(1, random)
                name = f"training step of {images} images: {models} networks"
                say(name + (", bf16" if precision == "bf16" else ""), step._once, precision)
        for models, precision in ((1, "tf32"), (20, "tf32"), (1, "bf16")):
            made = evaluation("ConvNet", models, precision)
            object.__setattr__(made, "tested", data_part(made, 1024))
            ensemble = Ensemble([made._fresh_network(Streams(i)) for i in range(models)])
            name = f"test of 1024 images: {models} networks"
            say(
                name + (", bf16" if precision == "bf16" else ""),
                lambda made=made, ensemble=ensemble: made._measure(ensemble, made.tested),
                precision,
            )


def data_part(made, size):
    from dclib.training.examples import Examples

    data = data_set(3, (32, 32), test=size).to(CUDA)
    return Examples(data.test_images, data.test_labels, data)


def main():
    warnings.simplefilter("ignore")
    sys.path[:0] = [str(ROOT)]
    _without_a_driver()
    from torch._subclasses.fake_tensor import FakeTensorMode

    # Where this fails or crashes, nothing is printed, and all is skipped.
    with pytest.MonkeyPatch.context() as patches, FakeTensorMode():
        patches.setattr(torch.cuda, "is_available", lambda: True)
        patches.setattr(FakeTensorMode, "avoid_device_init", property(lambda self: True))
        weight = torch.empty(4, 3, 3, 3, device=CUDA, requires_grad=True)
        loss = functional.conv2d(torch.empty(2, 3, 8, 8, device=CUDA), weight).sum()
        assert torch.autograd.grad(loss, weight)[0].device == CUDA
    print(json.dumps({POSSIBLE: True}), flush=True)
    kinds = {
        "condense": condense, "embed": embed, "evaluate": evaluate, "distill": distill,
        "reference": reference,
    }  # fmt: skip
    for scenario in sys.argv[1:]:
        kind, *rest = scenario.split()
        if kind == "counts":
            count()
            continue
        try:
            kinds[kind](*rest)
            wrong = ""
        except Exception as error:
            where = error.__traceback__
            places = []
            while where:
                places.append(f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}")
                where = where.tb_next
            wrong = f"{type(error).__name__}: {str(error)[:400]} at {' '.join(places[-8:])}"
        print(json.dumps({scenario: wrong}), flush=True)


if __name__ == "__main__":
    main()
