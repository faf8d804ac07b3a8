"""What the commands share: one-line errors, optional packages, a clean end on Ctrl-C, SIGTERM and SIGHUP."""

from __future__ import annotations

import faulthandler
import importlib.util
import io
import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from .errors import MetfaError, MissingExtraError, OutputError
from .text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import FrameType

INTERRUPTED = 130
"""Exit code of a command that a signal ended, as shells give it for Ctrl-C."""

if sys.platform == "win32":
    HANG_UP = signal.SIGBREAK
else:
    HANG_UP = signal.SIGHUP
"""The signal of a terminal that is gone."""

_TYPED = "metfa.typed"


def _print_version(ctx: click.Context, _: click.Parameter, given: bool) -> None:  # click passes it so
    if not given or ctx.resilient_parsing:
        return
    from importlib.metadata import version  # takes 15 ms

    click.echo(f"{ctx.command_path} {version('metfa')}")
    ctx.exit()


_VERSION = click.Option(
    ["--version"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Show the version and exit.",
)


class Command(click.Command):
    """A click command that ends with one line and exit code 1 where a :class:`MetfaError` is raised.

    Options that do not fit end it with one line, too, and exit code 2. SIGTERM and SIGHUP, which comes where the
    terminal is gone, end it like Ctrl-C, with one line and exit code 130: what is half-written is cleared away. A crash
    in native code, which nobody can catch, says on stderr in which call it was.
    """

    def main(self, *arguments: Any, **named: Any) -> Any:
        """Be a command of a process or of a test."""
        _open_standard_streams()
        return super().main(*arguments, **named)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the command line."""
        typed = tuple(args)  # parsing takes them out of the list
        try:
            context = super().make_context(info_name, args, parent, **extra)
        except MetfaError as error:
            raise click.ClickException(str(error)) from None
        except click.UsageError as error:
            raise _OneLineUsageError(printable(error.format_message())) from None
        context.meta[_TYPED] = typed
        return context

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters, ``--help`` and ``--version``."""
        return [*super().get_params(ctx), _VERSION]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the titles of their sections, in the order in which those first appear."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):  # the docstring describes arguments
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        _report_crashes()
        previous = {number: signal.signal(number, signal.default_int_handler) for number in _ending_signals()}
        try:
            return super().invoke(ctx)
        except MetfaError as error:
            raise click.ClickException(str(error)) from None
        except click.UsageError as error:
            raise _OneLineUsageError(printable(error.format_message())) from None
        except KeyboardInterrupt:
            raise InterruptedCommand("the same command begins anew") from None
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _report_crashes() -> None:
    """Have Python print its calls where a signal such as SIGSEGV ends the process."""
    if not faulthandler.is_enabled():
        with suppress(RuntimeError, OSError):  # there is no stderr, or it is no file
            faulthandler.enable()


def run(command: click.Command) -> None:
    """Be the process of ``command``: it ends even where threads of it are still in native code."""
    try:
        command()
    except SystemExit as end:
        # A thread that comes back to a Python that is being taken down would abort the process.
        if any(thread.name.startswith("metfa ") for thread in threading.enumerate()):
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 0)
        raise


def say(lines: Iterable[str]) -> None:
    """Print lines, with what would control the terminal escaped.

    Raises:
        OutputError: they cannot be printed, as where a disk is full.
    """
    try:
        click.echo("\n".join(map(printable, lines)))
    except BrokenPipeError:
        raise  # click ends the command without a word, as is usual where a reader is gone
    except OSError as cause:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try again at its end
        raise OutputError(
            expected="to be able to print the results",
            received=cause.strerror or str(cause),
            remedy="free space where the standard output leads, or lead it elsewhere",
        ) from None


def _open_standard_streams() -> None:
    """Let no file that is opened later take the number, and with it the messages, of a stream that is closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # in a locale without these letters
        elif stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115  # until the process ends


def _ending_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that end a command as Ctrl-C does.

    SIGHUP is none where somebody else has said what it does: nohup has it ignored, :func:`reload_requests` taken.
    """
    if signal.getsignal(HANG_UP) in {signal.SIG_DFL, signal.default_int_handler}:
        return (signal.SIGTERM, HANG_UP)
    return (signal.SIGTERM,)


@contextmanager
def reload_requests() -> Iterator[threading.Event]:
    """Yield an event that SIGHUP sets where the process has no terminal, as a service. For the main thread.

    With a terminal, SIGHUP says that it is gone, and ends the command; that stays so. Windows has no such signal.
    """
    requested = threading.Event()
    if sys.platform == "win32" or HANG_UP not in _ending_signals() or _has_terminal():
        yield requested
        return
    previous = signal.signal(HANG_UP, lambda number, frame: requested.set())
    try:
        yield requested
    finally:
        signal.signal(HANG_UP, previous)


def _has_terminal() -> bool:
    """Return whether a terminal can send signals to the process, whatever its standard streams are."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def typed_arguments() -> tuple[str, ...]:
    """Return what was typed after the name of the :class:`Command` that runs."""
    typed: tuple[str, ...] = click.get_current_context().meta[_TYPED]
    return typed


class InterruptedCommand(click.ClickException):
    """Ctrl-C or its like ended a command; the message tells how to go on."""

    exit_code = INTERRUPTED

    def show(self, file: IO[Any] | None = None) -> None:
        """Print one line that is no error's."""
        click.echo(f"Interrupted; {printable(self.message)}", file=file, err=True)


class _OneLineUsageError(click.ClickException):
    """A usage error without the lines on how to get help."""

    exit_code = 2


def require_extra(extra: str, *modules: str) -> None:
    """Make sure that the packages of an extra are installed, without importing them.

    Raises:
        MissingExtraError: a module is missing; the message gives the pip command.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(
                expected=f"the package {module}",
                received="a Python environment without it",
                remedy=f"pip install '.[{extra}]' in a clone of metfa",
            )


class Interruption:
    """Remembers what ends a command, so that a loop can end between two steps; Ctrl-C after another signal interrupts.

    That is Ctrl-C, SIGTERM and, unless it means something else, SIGHUP. Use as a context manager, in the main thread;
    ``requested`` turns true on the first signal.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, *_ending_signals()):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
