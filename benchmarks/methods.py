"""Time and memory of an iteration of dsa, dm and idc, beside the plain loops in tests/reference.

Usage: PYTHONPATH=.:tests python benchmarks/methods.py [--dataset MNIST] [--ipc 1] ...

Everything is measured in one process, by turns, on the same data and from the same random streams;
of two iterations, the second counts. dsa and idc match `--outer-steps` times in an iteration. Of dm
it is told as well which share of the time its two passes through the network take. Writes
benchmarks/results/methods_{device}.csv.
"""

import argparse
import dataclasses
import time
from pathlib import Path

import pandas as pd
import torch
from reference import distribution_matching, gradient_matching, idc
from speed import forget_peak, synchronise

from dclib import devices, methods
from dclib.data import sources
from dclib.methods.dm import method as dm
from dclib.seeding import Streams

RESULTS = Path(__file__).resolve().parent / "results"


def plain(method, data, ipc, settings, network, device):
    """Do an iteration of the plain loop."""
    common = {"network": network, "dtype": torch.float32}
    arguments = data, ipc, settings, Streams("benchmark")
    if method == "dm":
        distribution_matching.condense(*arguments, iterations=1, device=device, **common)
    elif method == "idc":
        idc.condense(*arguments, **common)
    else:
        outer, inner = settings.loops(ipc)
        gradient_matching.condense(
            *arguments, iterations=1, outer=outer, inner=inner, device=device, **common
        )


def measured(action, device):
    """Return seconds, and MiB at the peak above what was held before."""
    held = forget_peak(device)
    started = time.perf_counter()
    action()
    synchronise(device)
    return time.perf_counter() - started, devices.peak_memory_mib(device) - held


def in_passes(step):
    """Return the share of the time of `step` that passes through the network take."""
    spent, embed, grad = [0.0], dm._embed, torch.autograd.grad

    def timed(function):
        def call(*given, **named):
            started = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent[0] += time.perf_counter() - started

        return call

    dm._embed, torch.autograd.grad = timed(embed), timed(grad)
    try:
        started = time.perf_counter()
        step()
        return spent[0] / (time.perf_counter() - started)
    finally:
        dm._embed, torch.autograd.grad = embed, grad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="MNIST")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--network", default="ConvNet")
    parser.add_argument("--methods", nargs="+", default=["dsa", "dm", "idc"])
    parser.add_argument("--outer-steps", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    device = devices.choose(asked.device, asked.threads)
    data, rows = sources.read({"name": asked.dataset}), []
    for name in asked.methods:
        short = {} if name == "dm" else {"outer_steps": asked.outer_steps, "inner_epochs": 1}
        settings = methods.face(name).settings(iterations=1, **short)
        one = dataclasses.replace(settings, factor=1)  # the same for all
        work = methods.body(name).create(asked.network, one, data, asked.ipc, device)
        state = work.start(Streams("benchmark"))
        work.step(state)
        seconds, peak = measured(lambda work=work, state=state: work.step(state), device)
        share = in_passes(lambda work=work, state=state: work.step(state)) if name == "dm" else None
        loop, loop_peak = measured(
            lambda name=name, one=one: plain(name, data, asked.ipc, one, asked.network, device),
            device,
        )
        rows.append(
            {
                "dataset": asked.dataset, "ipc": asked.ipc, "method": name,
                "plain_seconds": loop, "seconds": seconds, "faster": loop / seconds,
                "plain_mib": loop_peak, "mib": peak, "in_passes": share,
            }
        )  # fmt: skip
        print(pd.DataFrame(rows).round(3).to_string(), flush=True)
        pd.DataFrame(rows).round(3).to_csv(RESULTS / f"methods_{device.type}.csv", index=False)


if __name__ == "__main__":
    main()
