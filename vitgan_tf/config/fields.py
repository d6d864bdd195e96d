"""Configuration fields: documented and checked on construction; errors suggest the nearest valid value."""

from __future__ import annotations

import dataclasses
import math
import operator
import typing
from collections.abc import Collection
from typing import Any

from vitgan_tf.errors import ConfigError, did_you_mean


def field(
    help: str,
    default: Any = dataclasses.MISSING,
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    choices: Collection | None = None,
) -> Any:
    """Declares a dataclass field with its help text and valid values. The default need not be one of the choices."""
    bounds = {"at least": minimum, "above": above, "at most": maximum, "below": below}
    return dataclasses.field(default=default, metadata={"help": help, "bounds": bounds, "choices": choices})


_SATISFIES = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


@dataclasses.dataclass(frozen=True)
class Section:
    """Base class of the configuration sections: checks the type and range of every field.

    Raises:
      ConfigError: a value has the wrong type or is out of range; the message names the field, the value and the
        requirement.
    """

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        section = type(self).__name__[: -len("Config")].lower()
        for field in dataclasses.fields(self):
            path = f"{section}.{field.name}"
            value = _checked_type(path, getattr(self, field.name), types[field.name])
            object.__setattr__(self, field.name, value)
            for item in value if isinstance(value, tuple) else (value,):
                _check_range(path, field, item)


def _checked_type(path: str, value: Any, wanted: Any) -> Any:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if typing.get_origin(wanted) is tuple:
        if isinstance(value, (list, tuple)):
            return tuple(_checked_type(path, item, typing.get_args(wanted)[0]) for item in value)
    elif isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{path} must be of type {type_name(wanted)}, got {value!r}")


def type_name(wanted: Any) -> str:
    """Returns a field's type in words: "int", "float", "bool", "str" or "list of str"."""
    return f"list of {typing.get_args(wanted)[0].__name__}" if typing.get_origin(wanted) is tuple else wanted.__name__


def _check_range(path: str, field: dataclasses.Field, value: Any) -> None:
    choices = field.metadata["choices"]
    if choices is not None and value not in choices and value != field.default:
        raise ConfigError(
            f"{path} must be one of {', '.join(map(str, choices))}, got {value!r}{did_you_mean(value, choices)}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path} must be a finite number, got {value}")
    for words, bound in field.metadata["bounds"].items():
        if bound is not None and not _SATISFIES[words](value, bound):
            raise ConfigError(f"{path} must be {words} {bound}, got {value}")
