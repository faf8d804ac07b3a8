"""The runs of a table: which there are, and how they are carried out, each as ``metfa-train`` would."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from typing import TYPE_CHECKING

import click
import torch
from click.core import ParameterSource
from tqdm import tqdm

from metfa.runtime.bundle.contract import Roi
from metfa.runtime.bundle.directory import CHECKPOINT, MANIFEST, UNFINISHED
from metfa.runtime.command import INTERRUPTED, Command
from metfa.runtime.cores import available_cores
from metfa.runtime.errors import DataError, MetfaError, TrainingError
from metfa.runtime.files import write_text
from metfa.runtime.parameters import RoiType
from metfa.training.cli.run_options import make_config, together
from metfa.training.cli.train import main as metfa_train
from metfa.training.names import DEFAULTS, MethodName
from metfa.training.parallel import make_fabric, with_precision
from metfa.training.run import train

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

METHODS: tuple[MethodName, ...] = tuple(DEFAULTS)
"""In the order of the tables."""

SETTINGS = "settings.json"

NOT_OF_A_RUN = {"bundle", "compare", "device", "devices", "resume", "overwrite", "preview", "tensorboard"}
"""Options of ``metfa-train`` that say where and how, not what."""


OF_THE_TABLE = {"source", "target", "source_region", "target_region", "method", "seed", "origin", "labelled_target"}
"""Options that the table gives each run itself."""


class MethodsType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """``all``, or names of methods with commas between them → methods in the order of the paper's table."""

    name = "all|METHOD,…"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[MethodName, ...]:
        """Parse ``value``."""
        names = METHODS if value == "all" else value.split(",")
        for name in names:
            if name not in METHODS:
                self.fail(f"expected all or some of {', '.join(METHODS)}, received {name!r}", param, ctx)
        return tuple(method for method in METHODS if method in names)


table_command = partial(
    click.command,
    cls=Command,
    context_settings={"show_default": True, "max_content_width": 120, "ignore_unknown_options": True},
    options_metavar="[OPTIONS] [OPTIONS OF metfa-train]",
)
"""A command that also takes options of ``metfa-train``, which go to its runs."""

directions_option = click.option("--both-directions", is_flag=True, help="Also from target to source.")

table_options = together(
    [
        click.option("--source", required=True, help="A domain as metfa-train takes it."),
        click.option("--target", required=True, help="The other, with labels, which score the result."),
        click.option(
            "--source-roi", type=RoiType(), default="full", help="Part of the source's images that the model sees."
        ),
        click.option("--target-roi", type=RoiType(), default="full", help="The same for the target's."),
        click.option("--jobs", type=click.IntRange(min=1), default=1, help="Runs at a time; they share the cores."),
    ]
)
"""The two domains and the number of jobs, which every table takes."""


def require_options_of_a_run(options: Sequence[str]) -> None:
    """Refuse what ``metfa-train`` would not take, or would take for something that the table decides.

    Raises:
        UsageError: there is such an option.
    """
    context = metfa_train.make_context("metfa-train", list(options))
    for parameter in metfa_train.params:
        name = parameter.name or ""
        given = context.get_parameter_source(name) == ParameterSource.COMMANDLINE
        if given and name in (NOT_OF_A_RUN - {"device"}) | OF_THE_TABLE:
            raise click.UsageError(
                f"expected options that say how metfa-train trains, received {parameter.opts[0]}, which the table "
                "decides for each run; leave it out"
            )


def claim(output: Path, settings: Sequence[str]) -> None:
    """Make sure that all runs in ``output`` are of the same domains and options.

    Raises:
        DataError: they are of others.
    """
    path = output / SETTINGS
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != list(settings):
        raise DataError(
            expected=f"the domains and options that the runs in {output} were begun with",
            received=shlex.join(settings),
            remedy="give the same ones, or another --output",
        )
    write_text(path, json.dumps(list(settings), ensure_ascii=False) + "\n")


@dataclass(frozen=True, slots=True)
class DomainChoice:
    """A domain as ``metfa-train`` takes it.

    Attributes:
        specification: what names it; see :func:`metfa.training.data.readers.list_domain`.
        region: the part of its pictures that the model sees; ``auto`` for the sector, None for all.
    """

    specification: str
    region: Roi


@dataclass(frozen=True, slots=True)
class Direction:
    """From which domain to which.

    Attributes:
        name: for files, such as ``source-to-target``.
        source: the labelled domain.
        target: the other.
    """

    name: str
    source: DomainChoice
    target: DomainChoice


def make_directions(one: DomainChoice, other: DomainChoice, *, both: bool) -> list[Direction]:
    """Return the direction from one domain to the other, and where ``both`` the way back."""
    there, back = Direction("source-to-target", one, other), Direction("target-to-source", other, one)
    return [there, back] if both else [there]


@dataclass(frozen=True, slots=True)
class Run:
    """One training run of a table.

    Attributes:
        direction: from which domain to which.
        method: what it trains.
        seed: of everything.
        options: of ``metfa-train``, for this run alone.
    """

    direction: Direction
    method: MethodName
    seed: int
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The run's path inside the table's directory of runs."""
        return f"{self.direction.name}/{self.method}/{self.seed}"


class Runner:
    """Carries runs out, some at a time; those that are finished already are left alone, unfinished ones resumed.

    Args:
        directory: where each run's bundle is, under its name.
        options: of ``metfa-train``, the same for every run.
        special: further options, of the methods that a pattern such as ``metfa-*`` matches.
        jobs: how many runs at a time; they share the processor's cores.
    """

    def __init__(self, directory: Path, options: Sequence[str], special: Sequence[tuple[str, str]], jobs: int) -> None:
        self._directory = directory
        self._options = tuple(options)
        self._special = special
        self._jobs = jobs

    def bundle(self, run: Run) -> Path:
        """Return the directory of a run's bundle."""
        return self._directory / run.name

    def is_finished(self, run: Run) -> bool:
        """Return whether a run has left its bundle."""
        return (self.bundle(run) / MANIFEST).exists()

    def carry_out(self, runs: Sequence[Run]) -> dict[Run, str]:
        """Carry out ``runs``, with a progress bar; return why for those that failed.

        Whatever ends it ends the running ones too, which save their state.

        Raises:
            TrainingError: a process was killed.
        """
        failures: dict[Run, str] = {}
        waiting = [run for run in runs if not self.is_finished(run)]
        # Processes that live on from run to run: importing PyTorch takes as long as a short run.
        with (
            tqdm(total=len(runs), initial=len(runs) - len(waiting), unit="run", disable=None) as bar,
            ProcessPoolExecutor(
                self._jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(self._jobs,)
            ) as pool,
        ):
            try:
                futures = {
                    pool.submit(_carry_out, run, self.bundle(run), self._options_of(run.method)): run for run in waiting
                }
                for future in as_completed(futures):
                    failure = future.result()
                    if failure:
                        failures[futures[future]] = failure
                    bar.set_postfix_str(futures[future].name)
                    bar.update()
            except BaseException as cause:
                for process in multiprocessing.active_children():
                    process.terminate()
                pool.shutdown(cancel_futures=True)
                if not isinstance(cause, BrokenProcessPool):
                    raise
                raise TrainingError(
                    expected="processes that train to come to their end",
                    received="one that was killed, as happens where memory runs out",
                    remedy="free memory or give fewer --jobs; the same command goes on with what is done",
                ) from None
        return failures

    def _options_of(self, method: MethodName) -> tuple[str, ...]:
        special = [text for pattern, text in self._special if fnmatch(method, pattern)]
        return (*self._options, *shlex.split(" ".join(special)))


def _begin(jobs: int) -> None:
    """Prepare a process for its runs: its share of the cores, and no progress bars beside the table's own."""
    os.environ["TQDM_DISABLE"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the table, which ends its processes
    torch.set_num_threads(max(1, available_cores() // jobs))


def _carry_out(run: Run, bundle: Path, options: tuple[str, ...]) -> str:
    """Carry out one run in this process; return what was wrong if it failed."""
    resume = (bundle / UNFINISHED / CHECKPOINT).exists()
    try:
        context = metfa_train.make_context("metfa-train", [*_arguments(run), *options])
        values = {name: value for name, value in context.params.items() if name not in NOT_OF_A_RUN}
        config = make_config(**{**values, "threads": values["threads"] or torch.get_num_threads()})
        config = with_precision(config, context.params["device"])
        fabric = make_fabric(context.params["device"], precision=config.precision)
        evaluation = train(config, bundle, fabric, resume=resume)
    except (MetfaError, click.ClickException) as error:
        return str(error)
    if evaluation is None:  # SIGTERM: its state is saved, and no other run must begin here
        os._exit(INTERRUPTED)
    return ""


def _arguments(run: Run) -> Iterator[str]:
    roles = {"source": run.direction.source, "target": run.direction.target}
    if "--from" in run.options:  # of which the source is known
        del roles["source"]
    for role, domain in roles.items():
        yield from (f"--{role}", domain.specification)
        if domain.region:
            yield from (f"--{role}-roi", str(domain.region))
    yield from ("--method", run.method, "--seed", str(run.seed), *run.options)
