"""Several processes against one; run by ``benchmarks.train`` as a script of its own, since each process runs it.

::

    python -m benchmarks.train.scaling PROCESSES STEPS
"""

from __future__ import annotations

import sys
import time
from statistics import median

import torch

from metfa.training.parallel import Encoding, make_fabric

from .steps import Bench, configuration


def main(processes: int, steps: int) -> None:
    """Print the milliseconds of a step of MetFA-V with the compact preset, each process with one core."""
    torch.set_num_threads(1)
    fabric = make_fabric("cpu", processes)
    fabric.launch()
    torch.set_num_threads(1)  # launching shares the cores out
    bench = Bench(configuration("metfa-v", "compact", (224, 288)))
    if processes > 1:
        bench.method.run_encoder = Encoding(fabric, bench.method)
    times = []
    for _ in range(steps + 1):
        began = time.perf_counter()
        bench.train(bench.augment(bench.sample()))
        fabric.barrier()
        times.append(1000 * (time.perf_counter() - began))
    if fabric.is_global_zero:
        print(median(times[1:]))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
