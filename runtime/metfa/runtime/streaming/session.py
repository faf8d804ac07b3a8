"""What ``metfa-stream`` does: open what its options name, run the streams, and say what came of them."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import cv2

from ..backends.choice import has_nvidia_gpu
from ..bundle.directory import Bundle
from ..classifier import PlaneClassifier
from ..command import Interruption
from ..decisions.decider import why_nothing_is_shown
from ..decisions.scanner_check import read_scanner_statistics
from ..errors import MetfaError, SourceError
from ..sinks import StatusLine
from ..sources import CaptureFormat, LateSource, PacedSource, may_come_later, open_source
from .devices import Device, all_devices
from .exchange import ExchangeableClassifier
from .redeployment import Redeployment
from .run import Stream, run_streams
from .source_session import SourceSession, tell

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ..bundle.contract import ModelContract
    from ..sinks.dashboard import Dashboard
    from ..sources import Source
    from ..web import Address
    from .options import StreamOptions


def run_session(options: StreamOptions, reload: threading.Event) -> None:
    """Stream as the options say, with everything that the user is told. For the main thread.

    Args:
        options: of the command.
        reload: set by whoever wants the bundle to be taken that is in the directory now.

    Raises:
        MetfaError: what opening the bundle, the only source or a sink, and :func:`~.run.run_streams`, raise.
        SourceError: of several sources, some failed; it was told why when they did.
    """
    _keep_opencv_to_one_thread()
    devices = all_devices(options.device, options.devices)
    for device in devices:
        options.files.of(device).refuse_to_overwrite(device.spec, overwrite=options.overwrite)
    sessions: list[SourceSession] = []
    failures: list[tuple[str, Exception]] = []
    try:
        with ExitStack() as stack:
            bundle = Bundle.open(options.bundle)
            scanners = read_scanner_statistics(bundle)
            classifier = ExchangeableClassifier(_load_classifier(bundle, options))
            _report_backend(classifier.current, verbose=options.verbose)
            sources = _open_sources(devices, options, stack, failures)
            # Up to here nothing was done that a signal could not simply end.
            interruption = stack.enter_context(Interruption())
            classifiers = [classifier] if len(devices) == 1 else classifier.shared(len(sources))
            sessions += [
                SourceSession(device, source, own, scanners, options)
                for (device, source), own in zip(sources.items(), classifiers, strict=True)
            ]
            dashboard = None if options.serve is None else _open_dashboard(options.serve, sessions)
            redeployment = Redeployment(
                options.bundle,
                partial(_redeploy, classifier, sessions, options),
                requested=reload,
                watch=options.watch,
                notify=lambda line: tell(f"bundle: {line}"),
            )
            stack.enter_context(redeployment)
            errors = run_streams(
                _streams(sessions, dashboard),
                interruption,
                limit=options.limit,
                seconds=math.inf if options.seconds is None else options.seconds,
            )
            failures += [
                (each.device.name, error) for each, error in zip(sessions, errors, strict=True) if error is not None
            ]
            never_there = [each.device.name for each in sessions if not _is_there(each.source)]
            _raise_first_of_one(failures, devices)
    except MetfaError:
        for each in sessions:
            if each.statistics.frames:
                each.summarise()
        raise
    for each in sessions:
        each.summarise()
    for each in sessions:
        each.tell_of_collection()
    if failed := [*(name for name, _ in failures), *never_there]:
        raise _some_failed(failed, devices)


def _raise_first_of_one(failures: Sequence[tuple[str, Exception]], devices: Sequence[Device]) -> None:
    """Raise what the only source failed with, or a mistake in the program."""
    for _, error in failures:
        if len(devices) == 1 or not isinstance(error, MetfaError):
            raise error


def _some_failed(failed: Sequence[str], devices: Sequence[Device]) -> SourceError:
    return SourceError(
        expected=f"{len(devices)} sources to be streamed to their ends",
        received=f"{len(failed)} that failed: {' and '.join(failed)}",
        remedy="see above what each failed with",
    )


def _streams(sessions: Sequence[SourceSession], dashboard: Dashboard | None) -> list[Stream]:
    line = StatusLine()
    sinks = [None] * len(sessions) if dashboard is None else dashboard.sinks
    return [
        Stream(
            each.source,
            each.classifier,
            each.open_sinks(sink, line),
            each.statistics,
            each.say,
            each.fail if each.device.name else lambda _: None,  # of a single one, the command says it
        )
        for each, sink in zip(sessions, sinks, strict=True)
    ]


def _redeploy(
    classifier: ExchangeableClassifier, sessions: Sequence[SourceSession], options: StreamOptions
) -> str | None:
    """Let the bundle serve that is in the directory now; return a line that says so, or None where it serves already.

    Raises:
        MetfaError, UsageError: it cannot; the last one goes on.
    """
    bundle, last = Bundle.open(options.bundle), classifier.current.identity.bundle
    if bundle.digest == last:
        return None
    successor, scanners = _load_classifier(bundle, options), read_scanner_statistics(bundle)
    for each in sessions:
        each.expect(successor.identity, scanners)
    classifier.exchange(successor)
    _report_backend(successor, verbose=options.verbose)
    return f"{bundle.digest} serves in place of {last}"


def _load_classifier(bundle: Bundle, options: StreamOptions) -> PlaneClassifier:
    classifier = PlaneClassifier.load(
        bundle,
        backend=None if options.backend == "auto" else options.backend,
        precision=None if options.precision == "auto" else options.precision,
        region=options.region,
        rebuild=options.rebuild,
        notify=lambda line: tell(f"backend: {line}"),
    )
    classifier.contract = _decided_by(
        classifier.contract, enter=options.enter, exit=options.leave, dwell_ms=options.dwell
    )
    return classifier


def _open_sources(
    devices: Sequence[Device], options: StreamOptions, stack: ExitStack, failures: list[tuple[str, Exception]]
) -> dict[Device, Source]:
    """Open the sources; of several, say which cannot be opened: one that may come later is waited for, others fail.

    Raises:
        SourceError, ProfileError, PluginError: the only one cannot be opened, or none of several.
    """
    opened: dict[Device, Source] = {}
    wanted = CaptureFormat(options.size, options.rate, options.pixels)
    for device in devices:
        before = f"{device.name}: source: " if device.name else "source: "

        def notify(line: str, before: str = before) -> None:
            tell(f"{before}{line}")

        try:
            source = stack.enter_context(open_source(device.spec, wanted, notify=notify))
            has_a_pace = source.live and len(devices) > 1  # live sources beside recordings
            opened[device] = stack.enter_context(PacedSource(source)) if options.realtime and not has_a_pace else source
        except MetfaError as error:
            if len(devices) == 1:
                raise
            if isinstance(error, SourceError) and may_come_later(device.spec):
                notify(f"waited for: {error}")
                again = partial(open_source, device.spec, wanted, notify=notify)
                opened[device] = stack.enter_context(LateSource(again, notify))
                continue
            notify(f"left out: {error}")
            failures.append((device.name, error))
        else:
            notify(opened[device].description)
    if not any(_is_there(source) for source in opened.values()):
        raise _some_failed([device.name for device in devices], devices)
    return opened


def _is_there(source: Source) -> bool:
    return not isinstance(source, LateSource) or source.is_there


def _keep_opencv_to_one_thread() -> None:
    """Leave the cores to inference: a frame is so small that waking more threads costs more than they save."""
    cv2.setNumThreads(1)


def _decided_by(contract: ModelContract, **options: float | None) -> ModelContract:
    """Return the contract with the numbers of its decision that were given as options.

    Raises:
        UsageError: they do not fit each other.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    enter, leave = (given.get(name, getattr(contract.decision, name)) for name in ("enter", "exit"))
    if leave > enter:
        bundles = "" if {"enter", "exit"} <= set(given) else "; what is not given is the bundle's"
        raise click.UsageError(
            f"expected --exit of at most --enter, received {leave:g} and {enter:g}{bundles}; "
            "give for example --enter 0.8 --exit 0.5"
        )
    return replace(contract, decision=replace(contract.decision, **given))


def _report_backend(classifier: PlaneClassifier, *, verbose: bool) -> None:
    """Say what runs the model, and why nothing faster does, where asked or where there is a GPU for it.

    A model that may never show a label is warned of.
    """
    tell(f"backend: {classifier.backend_choice}")
    refusals = classifier.backend_refusals
    if not verbose:  # the driver is asked only where there is something to say
        refusals = refusals[:1] if refusals and has_nvidia_gpu() else ()
    for refusal in refusals:
        tell(f"backend: {refusal}")
    if doubt := why_nothing_is_shown(classifier.contract.decision):
        tell(f"{doubt}; train it longer, or lower that with --enter")


def _open_dashboard(address: Address, sessions: Sequence[SourceSession]) -> Dashboard:
    from ..sinks.dashboard import Dashboard
    from ..web import token_of_user

    dashboard = Dashboard(address, [each.show_on_board() for each in sessions], token=token_of_user())
    tell(f"dashboard: {dashboard.invitation}")
    return dashboard
