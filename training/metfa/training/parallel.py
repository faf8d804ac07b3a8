"""Training on several devices, in reduced precision, compiled: what changes is how the encoder runs, nothing else.

Each process runs the encoder on its share of a batch; the features of all of it are gathered, and what follows runs on
the whole batch in every process. So every support, pseudo-label and class mean of a term is that of the whole batch,
the batch norms' statistics are, too, and the objective is that of one process.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from metfa.runtime.errors import CompilationError, MetfaError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lightning_fabric import Fabric

    from .config import TrainingConfig, TrainingPrecision


def with_precision(config: TrainingConfig, device: str | None) -> TrainingConfig:
    """Return the run with the precision that is fastest where it is trained, if it was left out.

    On a CPU with bfloat16 convolutions the small encoders need half the time, and are as good
    (docs/training.md, Precision). On a GPU that was not measured yet: there it stays float32.
    """
    if config.precision is not None:
        return config
    on_cpu = device == "cpu" or (device is None and not torch.cuda.is_available())
    return replace(config, precision="bf16" if on_cpu and computes_in_bfloat16() else "fp32")


def computes_in_bfloat16(cpu: Path = Path("/proc/cpuinfo")) -> bool:
    """Return whether this x86-64 CPU has instructions for bfloat16; others emulate it, slower than float32.

    Args:
        cpu: what Linux tells of it.
    """
    try:
        flags = re.search(r"^flags\s*:(.*)$", cpu.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return False
    return flags is not None and not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags[1].split())


def make_fabric(device: str | None, processes: int = 1, precision: TrainingPrecision | None = None) -> Fabric:
    """Return where a run computes; it is to be launched before anything else.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; None for CUDA where there is a GPU.
        processes: how many train together, each with a GPU, or with its share of the CPU's cores. Under ``torchrun`` or
            SLURM, as many as were started.
        precision: of the encoder; the rest stays in float32. None for float32.

    Raises:
        TrainingError: there are no such devices.
    """
    from lightning_fabric import Fabric  # takes seconds to import, and only training needs it
    from lightning_fabric.accelerators.cuda import CUDAAccelerator

    if device is not None and not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise TrainingError(
            expected="the device cpu, cuda or cuda:N", received=repr(device), remedy="correct --device or leave it out"
        )
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as cause:
        raise TrainingError(
            expected=f"the device {device}", received=str(cause).splitlines()[0], remedy="use --device cpu"
        ) from None
    if found.index is not None and processes > 1:
        raise TrainingError(
            expected="one device, or --device cuda for several",
            received=f"{device} and --devices {processes}",
            remedy="leave out the number of the device",
        )
    present = CUDAAccelerator.auto_device_count()
    if found.type == "cuda" and processes > present:
        raise TrainingError(
            expected=f"{processes} GPUs, one for each of --devices", received=f"{present}", remedy="lower --devices"
        )
    if found.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32; on a CPU it would mean something else
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # what it would print of every process
    return Fabric(
        accelerator=found.type,
        devices=[found.index] if found.index is not None else processes,
        strategy="ddp" if processes > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
    )


@contextmanager
def launched(fabric: Fabric) -> Iterator[None]:
    """Launch, and end the threads between the processes at the end, whatever ends it: one that stays can abort."""
    fabric.launch()
    try:
        yield
    finally:
        if fabric.world_size > 1:
            dist.destroy_process_group()


@contextmanager
def first_process_first(fabric: Fabric) -> Iterator[None]:
    """Run the block in the first process, then in the others; where it fails in the first, all of them end together.

    Raises:
        RuntimeError: in the others, where it failed in the first.
    """
    failure: MetfaError | None = None
    with fabric.rank_zero_first():
        try:
            yield
        except MetfaError as cause:  # raised where no process waits for this one
            failure = cause
    failed_first: bool = fabric.broadcast(failure is not None)
    if failure:
        raise failure
    if failed_first:
        raise RuntimeError("the first process has failed")


class Encoding:
    """How methods run an encoder: on this process's share of a batch, in the precision of ``fabric``.

    Args:
        fabric: launched.
        method: the network whose batch norms are to see all shares; changed in place, with the same parameters.
        compiled: whether the encoder is compiled when it runs first; what validates it runs it as it is.
    """

    def __init__(self, fabric: Fabric, method: nn.Module, *, compiled: bool = False) -> None:
        self._fabric = fabric
        self._compiled: dict[nn.Module, nn.Module] | None = {} if compiled else None
        if fabric.world_size > 1:
            for module in method.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.__class__ = SharedBatchNorm2d

    def __call__(self, encoder: nn.Module, frames: Tensor) -> Tensor:
        """Return the features of all frames, float32 [N, K].

        Args:
            encoder: E.
            frames: float [N, 1, H, W], the same in every process; N is a multiple of their number.

        Raises:
            TrainingError: the frames cannot be divided.
        """
        processes = self._fabric.world_size
        if len(frames) % processes:
            raise TrainingError(
                expected=f"batches that {processes} devices can share evenly",
                received=f"{len(frames)} images",
                remedy="choose --images-per-class as a multiple of --devices",
            )
        share = frames.chunk(processes)[self._fabric.global_rank]
        with _sharing() if processes > 1 else nullcontext(), self._fabric.autocast():
            features = self._run(encoder, share)
        if processes == 1:
            return features.float()
        gathered: Any = self._fabric.all_gather(features.float(), sync_grads=True)  # [processes, N / processes, K]
        return gathered.flatten(0, 1)  # type: ignore[no-any-return]

    def _run(self, encoder: nn.Module, frames: Tensor) -> Tensor:
        if self._compiled is None:
            features: Tensor = encoder(frames)
            return features
        if encoder not in self._compiled:
            self._compiled[encoder] = torch.compile(encoder, dynamic=False)  # type: ignore[assignment]
        return self._compiled[encoder](frames)  # type: ignore[no-any-return]


@contextmanager
def compiling() -> Iterator[None]:
    """Tell in one line why an encoder cannot be compiled; that fails when it runs first, forward or backward.

    Raises:
        CompilationError: it cannot.
    """
    from torch._dynamo.exc import TorchDynamoException  # takes seconds to import

    try:
        yield
    except (TorchDynamoException, CalledProcessError) as cause:
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise CompilationError(
            expected="to be able to compile the encoder, which takes a C++ compiler",
            received=next((line.strip() for line in lines if "error:" in line), lines[0]),
            remedy="install g++ and python3-dev, or use --no-compile",
        ) from None


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give each parameter the mean of its gradients in all processes; nothing happens where there is one.

    Every process has computed the objective of the whole batch. What came before the gathering was given the sum of all
    processes' gradients for its own share; what came after has the same gradient everywhere: the mean fits both.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    means = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, mean in zip(gradients, means, strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_process(fabric: Fabric, flag: bool) -> bool:
    """Return whether ``flag`` is set in any process, so that all of them stop after the same step."""
    if fabric.world_size == 1:
        return flag
    flags: Any = fabric.all_reduce(torch.tensor(float(flag), device=fabric.device), reduce_op="sum")
    return bool(flags > 0)


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' shares, inside :class:`Encoding`, on any kind of device.

    Elsewhere, as where one process validates a copy of the network, it is a batch norm like any other.
    """

    shares = False

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → the same, normalised, in the type of ``x``; what is computed is float32."""
        if not (SharedBatchNorm2d.shares and self.training):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        wide = x.float()  # a sum in bfloat16 has three digits
        with torch.no_grad():
            mean, variance = _statistics_of_all(wide)
            count = wide.numel() // wide.shape[1] * dist.get_world_size()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        weight, bias = (self.weight, self.bias) if self.affine else (torch.ones_like(mean), torch.zeros_like(mean))
        normalised: Tensor = _Normalisation.apply(wide, weight, bias, mean, variance, self.eps)  # type: ignore[no-untyped-call]
        return normalised.to(x.dtype)


@contextmanager
def _sharing() -> Iterator[None]:
    SharedBatchNorm2d.shares = True
    try:
        yield
    finally:
        SharedBatchNorm2d.shares = False


def _statistics_of_all(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of each channel over all processes' ``x``, which are of one size."""
    mean, variance = torch.batch_norm_update_stats(x, None, None, 0.0)
    mean_of_all = mean.clone()
    dist.all_reduce(mean_of_all)
    mean_of_all /= dist.get_world_size()
    variance += (mean - mean_of_all).square()  # within the shares, and between them
    dist.all_reduce(variance)
    return mean_of_all, variance / dist.get_world_size()


class _Normalisation(torch.autograd.Function):
    """Batch norm with statistics that depend on every process's input, as the gradient knows.

    Of PyTorch's own kernels, each of which passes over the activations once.
    """

    @staticmethod
    def forward(  # PyTorch passes the arguments by position
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps = eps
        return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, variance = ctx.saved_tensors
        inverse_deviation = (variance + ctx.eps).rsqrt()
        of_share = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, variance, mean, inverse_deviation, False, ctx.eps, [False, True, True]
        )
        of_weight, of_bias = of_share[1:]  # ∑ dy·x̂ and ∑ dy
        of_all = torch.stack((of_weight, of_bias))
        dist.all_reduce(of_all)
        of_all /= x.numel() // x.shape[1] * dist.get_world_size()
        # dx = w / σ · (dy − mean(dy) − x̂ · mean(dy·x̂)), where x̂ = (x − μ) / σ
        scale = weight * inverse_deviation
        through_statistics = torch.batch_norm(
            x, -scale * of_all[0], -scale * of_all[1], mean, variance, False, 0.0, ctx.eps, False
        )
        of_x = through_statistics.addcmul_(gradient, scale[:, None, None])
        return of_x, of_weight, of_bias, None, None, None
