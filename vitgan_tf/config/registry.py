"""Registries of alternatives by name: adding one takes a line in its registry, here or in a plugin."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

from vitgan_tf.errors import ConfigError, did_you_mean

_Item = TypeVar("_Item")


def imported(item: Any) -> Any:
    """Imports "module:name"; returns anything but a string unchanged."""
    if not isinstance(item, str):
        return item
    module, _, attribute = item.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry(Mapping[str, _Item], Generic[_Item]):
    """Alternatives by name; the names are the choices of a configuration field.

    Args:
      kind: singular noun for the items, used in messages.
      items: items by name; strings "module:name" are imported on access, so that the names are known without
        TensorFlow.
    """

    def __init__(self, kind: str, items: Mapping[str, _Item | str] | None = None):
        self._kind = kind
        self._items: dict[str, Any] = dict(items or {})

    def register(self, name: str, item: _Item | str) -> None:
        """Adds an item.

        Raises:
          ConfigError: the name is taken.
        """
        if name in self._items:
            article = "an" if self._kind[0] in "aeiou" else "a"
            raise ConfigError(f"there is already {article} {self._kind} {name!r}")
        self._items[name] = item

    def __getitem__(self, name: str) -> _Item:
        """Returns the item, imported if given as a string.

        Raises:
          UnknownNameError: the name is unknown; the message suggests the nearest one.
        """
        if name not in self._items:
            raise UnknownNameError(
                f"unknown {self._kind} {name!r}{did_you_mean(name, self)} (available: {', '.join(self)})"
            )
        return imported(self._items[name])

    def __contains__(self, name: object) -> bool:
        return name in self._items  # without importing the item

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class UnknownNameError(ConfigError, KeyError):
    """Raised when a registry has no item of the requested name."""

    __str__ = Exception.__str__
