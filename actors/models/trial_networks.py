"""Makes a network by its configuration, without weights, and compares it with its weights' files.

Nothing that a configuration says is believed: a number in it may ask for all memory, or for layers
without end. So the network is made on no device, within bounds, and each of its weights must have
the shape that its file says it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from math import isfinite
from pathlib import Path
from time import monotonic
from typing import Any

import diffusers
from accelerate import init_empty_weights
from packaging.version import InvalidVersion, Version
from safetensors import safe_open
from torch.nn.modules.module import register_module_parameter_registration_hook

from actors.errors import ModelError, said_by
from actors.models.bounded_memory import MORE_BYTES, bounded

Config = Mapping[str, Any]
Shape = tuple[int, ...]

FREE_TENSORS, TIMES_TENSORS, MOST_SECONDS = 1_000, 4, 30.0
"""A network may have so many weights, or so many times those in its files. One of 2,000 is made in
a second or two."""

MOST_WITHOUT_FILES = 10_000
"""Weights, where the files are pickles or have other names."""

MOST_TRIED = 200
"""Fields that are left out, one after the other, to find the one at fault."""


class _TooLargeError(Exception):
    """A network that does not end."""


def check_network(kind: Any, config: Config, where: str, weights: Sequence[Path]) -> None:
    """Refuse a configuration that makes no network, or another one than the weights are of.

    kind: a class of diffusers or transformers. where: its file and class, for messages. weights:
    its .safetensors files. Raises ModelError.
    """
    _check_values(kind, config, where)
    held = shapes_in(weights)
    most = FREE_TENSORS + TIMES_TENSORS * (len(held) or MOST_WITHOUT_FILES)
    try:
        made = shapes_of(kind, config, most)
    except Exception as error:  # whatever the first line raises that meets the value
        fields = _fields_behind(config, lambda less: bool(shapes_of(kind, less, most)))
        raise ModelError(
            f"{where} cannot be made{_with(fields)}: {reason(error)}. Copy the model again, or "
            "mend this file."
        ) from error
    if config.get("quantization_config") is not None:
        return  # Its weights are packed, in other shapes.
    for name, shape in held.items():
        if (other := made.get(name, shape)) != shape:
            is_behind = partial(_is_behind, kind, most, name, shape, other)
            fields = _fields_behind(config, is_behind)
            raise ModelError(
                f"{where} has {name}{_with(fields)} of the shape {_shown(other)}, and in the "
                f"weights it is {_shown(shape)}. Copy the model again: they are not of one model."
            )


def _check_values(kind: Any, config: Config, where: str) -> None:
    """Refuse values of another kind than the class has by default, which it may take and meet only
    when it draws: a text for a number, an object for anything."""
    for name, parameter in signature(kind.__init__).parameters.items():
        if name in config and (rule := rule_broken(config[name], parameter.default)):
            raise _broken(where, name, config[name], rule)
    packed = config.get("quantization_config")
    if packed is not None and not (
        isinstance(packed, dict) and isinstance(packed.get("quant_method"), str)
    ):
        raise _broken(where, "quantization_config", packed, "an object with a quant_method")
    version = config.get("_diffusers_version", "0")
    try:
        Version(version)
    except (TypeError, InvalidVersion):
        raise _broken(where, "_diffusers_version", version, "a version") from None


def rule_broken(value: Any, default: Any) -> str | None:
    """What a value should be, where it certainly is something else; by the class's own value.

    Lists, nulls and truths take the place of numbers in configurations of published models.
    """
    if default is None or default is Parameter.empty or value is None:
        return None
    if isinstance(default, int | float) and isinstance(value, str | dict):
        return "true or false" if isinstance(default, bool) else "a number"
    if isinstance(default, int | float) and isinstance(value, float) and not isfinite(value):
        return "a number"
    if isinstance(default, str) and not isinstance(value, str | list):
        return "a text"
    return None


def _broken(where: str, name: str, value: Any, rule: str) -> ModelError:
    return ModelError(
        f"{where} cannot be made with {name}: {str(value)[:100]!r}, and {rule} is right. "
        "Copy the model again, or mend this file."
    )


def shapes_of(kind: Any, config: Config, most: int) -> dict[str, Shape]:
    """The shape of each weight of the network that a configuration makes. Raises what it raises.

    most: weights that it may have.
    """
    deadline, count = monotonic() + MOST_SECONDS, 0

    def stop(*_: Any) -> None:
        nonlocal count
        count += 1
        if count > most or monotonic() > deadline:
            raise _TooLargeError(f"it has no end: {count:,} weights were made, and more would be")

    hook = register_module_parameter_registration_hook(stop)
    try:
        with bounded(), init_empty_weights(include_buffers=True):
            if issubclass(kind, diffusers.ModelMixin):
                made = kind.from_config(dict(config))
            else:
                made = kind(kind.config_class.from_dict(dict(config)))
    finally:
        hook.remove()
    weights = made.named_parameters(remove_duplicate=False)
    return {name: tuple(weight.shape) for name, weight in weights}


def shapes_in(weights: Sequence[Path]) -> dict[str, Shape]:
    """The shapes in the headers of .safetensors files."""
    found: dict[str, Shape] = {}
    for file in weights:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118  it is no dictionary
                found[name] = tuple(opened.get_slice(name).get_shape())
    return found


def reason(error: BaseException) -> str:
    """What an error of a library says, in a line."""
    if isinstance(error, _TooLargeError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"it takes more than {MORE_BYTES // 2**30} GiB without its weights"
    return said_by(error)


def _fields_behind(config: Config, mends: Callable[[Config], bool]) -> dict[str, Any]:
    """The one field without which a configuration is right, with its value; {} if there is none.

    Left out, a field has its default. `mends` may raise.
    """
    deadline = monotonic() + MOST_SECONDS
    for number, (name, value) in enumerate(config.items()):
        if number >= MOST_TRIED or monotonic() > deadline:
            break
        less = {key: other for key, other in config.items() if key != name}
        if not _holds(mends, less):
            continue
        if isinstance(value, dict):
            inner = _fields_behind(value, partial(_mends_inside, mends, less, name))
            if inner:
                return {f"{name}.{key}": found for key, found in inner.items()}
        return {name: value}
    return {}


def _is_behind(kind: Any, most: int, name: str, right: Shape, wrong: Shape, config: Config) -> bool:
    """Whether another configuration has another size where a weight's shape is wrong."""
    found = shapes_of(kind, config, most).get(name)
    if found is None or not len(found) == len(wrong) == len(right):
        return found != wrong
    sizes = zip(found, wrong, right, strict=True)
    return any(new != old for new, old, true in sizes if old != true)


def _mends_inside(
    mends: Callable[[Config], bool], config: Config, name: str, inner: Config
) -> bool:
    return mends({**config, name: dict(inner)})


def _holds(mends: Callable[[Config], bool], config: Config) -> bool:
    try:
        return mends(config)
    except Exception:  # noqa: BLE001  another field is at fault
        return False


def _with(fields: Mapping[str, Any]) -> str:
    """` with in_channels: 0`, for a sentence."""
    return "".join(f" with {name}: {str(value)[:100]}" for name, value in fields.items())


def _shown(shape: Shape) -> str:
    return " x ".join(f"{size:,}" for size in shape) or "of a number"
