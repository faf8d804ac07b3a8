"""The kinds of values that options of the commands take."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .bundle.contract import Region
from .bundle.engine_record import BatchRange
from .command import require_extra
from .plugins import names_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .application_entity import StorePeer
    from .bundle.contract import Roi
    from .openigtlink.address import PeerAddress
    from .plugins import Group
    from .sinks import CollectionLimit
    from .sinks.mqtt import Broker
    from .web import Address


class SectionedOption(click.Option):
    """An option that ``--help`` lists under a title; see :class:`~metfa.runtime.command.Command`."""

    def __init__(self, *arguments: Any, section: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.section = section


class NumberRange(click.FloatRange):
    """A finite number in a range; click alone lets ``nan`` pass every bound, and ``inf`` any that is open."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Parse ``value``."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, received {value}; give for example 0.5", param, ctx)
        return float(number)


class NameType(click.Choice):  # type: ignore[type-arg]  # not generic before click 8.2
    """One of metfa's names of a kind, or one that an installed package adds.

    Args:
        group: where packages add theirs.
        own: metfa's names.
    """

    def __init__(self, group: Group, own: Iterable[str]) -> None:
        super().__init__(tuple(own))
        self._group = group

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return all names, as ``--help`` lists them."""
        return f"[{'|'.join((*self.choices, *names_in(self._group)))}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check ``value``."""
        if value in self.choices:
            return str(value)
        return str(click.Choice((*self.choices, *names_in(self._group))).convert(value, param, ctx))


class BackendType(NameType):
    """A backend; OpenVINO may be followed by its device."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return all names, as ``--help`` lists them."""
        return super().get_metavar(param, ctx).replace("openvino", "openvino[:CPU|GPU|NPU]")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check ``value``."""
        if re.fullmatch(r"openvino:[\w.]+", value):  # of several GPUs, GPU.1; which there are, the backend knows
            return str(value)
        return super().convert(value, param, ctx)


BACKEND = BackendType("metfa.backends", ("auto", "tensorrt", "cuda", "cpu", "openvino"))
"""What runs a model; ``auto`` takes the fastest of TensorRT, CUDA and CPU that works."""


class ServedBackendType(BackendType):
    """A backend, or a server that runs the model: ``triton:HOST:PORT/MODEL[,BACKEND]``."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return all names, and how a server is spelt."""
        return f"[triton:HOST:PORT/MODEL[,BACKEND]|{super().get_metavar(param, ctx)[1:]}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check ``value``."""
        if not value.startswith("triton:"):
            return super().convert(value, param, ctx)
        from .backends.server_address import ServerAddress

        try:
            fallback = ServerAddress.parse(value).fallback
        except ValueError:
            self.fail(
                f"expected triton:HOST:PORT/MODEL, received {value!r}; give for example triton:gpu-box:8001/metfa,cpu",
                param,
                ctx,
            )
        if fallback is not None:
            super().convert(fallback, param, ctx)
        return str(value)


STREAM_BACKEND = ServedBackendType("metfa.backends", BACKEND.choices)
"""What runs the model of a stream."""


class NamedType(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """A kind of value that ``--help`` calls by its name, as it is typed; click would write it in capitals."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return the name."""
        return self.name


class RoiType(NamedType):
    """``auto``, ``full`` or ``x,y,width,height`` in pixels → :data:`~metfa.runtime.bundle.contract.Roi`.

    Args:
        contract: whether ``contract``, what the bundle says, is a choice, too; it stays a word.
    """

    name = "auto|full|x,y,w,h"

    def __init__(self, *, contract: bool = False) -> None:
        self._words = {"auto": "auto", "full": None, **({"contract": "contract"} if contract else {})}

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Roi | Literal["contract"]:
        """Parse ``value``."""
        if isinstance(value, Region):
            return value
        if value in self._words:
            return self._words[value]  # type: ignore[return-value]
        try:
            x, y, width, height = (int(number) for number in value.split(","))
            return Region(x, y, width, height)
        except ValueError:
            self.fail(
                f"expected {', '.join(self._words)} or x,y,width,height in pixels, received {value!r}; "
                "give for example 81,115,793,619",
                param,
                ctx,
            )


class SizeType(NamedType):
    """``WIDTHxHEIGHT`` in pixels → a pair of numbers."""

    name = "WIDTHxHEIGHT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Parse ``value``."""
        if isinstance(value, tuple):
            return value
        width, _, height = value.partition("x")
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            self.fail(f"expected WIDTHxHEIGHT in pixels, received {value!r}; give for example 1280x720", param, ctx)
        return int(width), int(height)


class CollectionLimitType(NamedType):
    """A number of frames, or of bytes with the unit MB or GB → :class:`~metfa.runtime.sinks.CollectionLimit`."""

    name = "N|SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> CollectionLimit:
        """Parse ``value``."""
        from .sinks import CollectionLimit

        if isinstance(value, CollectionLimit):
            return value
        parts = re.fullmatch(r"(\d+)(MB|GB)?", value)
        if parts is None or not int(parts[1]):
            self.fail(
                f"expected a number of frames, or of MB or GB, received {value!r}; give for example 1000 or 500MB",
                param,
                ctx,
            )
        if parts[2] is None:
            return CollectionLimit(frames=int(parts[1]))
        return CollectionLimit(bytes=int(parts[1]) * {"MB": 10**6, "GB": 10**9}[parts[2]])


class BatchType(NamedType):
    """``MIN,OPT,MAX`` frames → :class:`~metfa.runtime.bundle.engine_record.BatchRange`."""

    name = "MIN,OPT,MAX"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BatchRange:
        """Parse ``value``."""
        if isinstance(value, BatchRange):
            return value
        try:
            minimum, optimum, maximum = (int(number) for number in value.split(","))
            return BatchRange(minimum, optimum, maximum)
        except ValueError:
            self.fail(
                f"expected MIN,OPT,MAX, ascending numbers of frames, received {value!r}; give for example 1,1,8",
                param,
                ctx,
            )


class SinkType(NamedType):
    """``NAME`` or ``NAME=VALUE`` → the name of a sink that a package adds, and what the sink is told."""

    name = "NAME[=VALUE]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Take ``value`` apart."""
        if isinstance(value, tuple):
            return value
        name, _, told = value.partition("=")
        return name, told


class PeerType(NamedType):
    """``[listen:]HOST[:PORT]`` → :class:`~metfa.runtime.openigtlink.address.PeerAddress`."""

    name = "[listen:]HOST[:PORT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PeerAddress:
        """Parse ``value``."""
        from .openigtlink.address import PeerAddress

        if isinstance(value, PeerAddress):
            return value
        try:
            return PeerAddress.parse(value)
        except ValueError:
            self.fail(
                f"expected HOST:PORT or listen:HOST:PORT, received {value!r}; give for example 127.0.0.1:18944",
                param,
                ctx,
            )


class DicomOutputType(NamedType):
    """``DIR`` or ``store://AE@HOST:PORT`` → a path, or :class:`~metfa.runtime.application_entity.StorePeer`."""

    name = "DIR|store://AE@HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | StorePeer:
        """Parse ``value``."""
        from .application_entity import StorePeer

        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        if "://" not in value:
            return Path(value)
        try:
            return StorePeer.parse(value)
        except ValueError:
            self.fail(
                f"expected a directory or store://AE@HOST:PORT, received {value!r}; "
                "give for example store://ORTHANC@127.0.0.1:4242",
                param,
                ctx,
            )


class AddressType(NamedType):
    """``HOST:PORT`` → :class:`~metfa.runtime.web.Address`."""

    name = "HOST:PORT"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Parse ``value``."""
        require_extra("web", "h11")
        from .web import Address

        if isinstance(value, Address):
            return value
        try:
            return Address.parse(value)
        except ValueError:
            self.fail(f"expected HOST:PORT, received {value!r}; give for example 127.0.0.1:8080", param, ctx)


class BrokerType(NamedType):
    """``mqtt[s]://[USER[:PASSWORD]@]HOST[:PORT][/PREFIX]`` → :class:`~metfa.runtime.sinks.mqtt.Broker`."""

    name = "mqtt[s]://[USER@]HOST[:PORT][/PREFIX]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Broker:
        """Parse ``value``."""
        require_extra("mqtt", "paho")
        from .sinks.mqtt import Broker

        if isinstance(value, Broker):
            return value
        try:
            return Broker.parse(value)
        except ValueError:  # which the message does not repeat, as there may be a password in it
            self.fail(f"expected {self.name}; give for example mqtts://nurse@broker.example/ward/1", param, ctx)
