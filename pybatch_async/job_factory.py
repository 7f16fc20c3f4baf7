# SPDX-License-Identifier: MIT
"""Make jobs, new ones and dumped ones, with the plugins that are installed."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, runtime_checkable

from .errors import ConfigurationError
from .interfaces import GenericJob, GenericProtocol, Plugin
from .parameters import LaunchParameters
from .plugins.base import FORMAT

GROUP = "pybatch_async.plugins"


@runtime_checkable
class Reloader(Protocol):
    """Stand for a plugin that can make a job from what its `dump` wrote."""

    def reload_job(self, data: dict[str, Any], protocol: GenericProtocol | None) -> GenericJob:
        """Return the job that was dumped; no I/O happens."""
        ...


def create_job(plugin_name: str, params: LaunchParameters, protocol: GenericProtocol | None = None) -> GenericJob:
    """Make a job; no I/O happens.

    :param plugin_name: "slurm", "nobatch", "local", or the name of a plugin that another package brings.
    :param params: what to run.
    :param protocol: how to reach the host; None for this machine.
    :raises ConfigurationError: an unknown plugin, wrong parameters, or something that is no protocol.
    """
    return found_plugin(plugin_name, protocol).create_job(params, protocol)


def found_plugin(name: str, protocol: GenericProtocol | None) -> Plugin:
    """Return a plugin, to be used with a protocol.

    :raises ConfigurationError: an unknown plugin, or something that is no protocol.
    """
    if not isinstance(name, str):
        raise ConfigurationError(f'The name of a plugin comes first, "slurm" or another, not a {type(name).__name__}.')
    if protocol is not None and (isinstance(protocol, type) or not isinstance(protocol, GenericProtocol)):
        is_class = isinstance(protocol, type)
        shown = f"the class {protocol.__name__} itself" if is_class else f"a {type(protocol).__name__}"
        raise ConfigurationError(
            f"A protocol is needed to reach the host, AsyncsshProtocol(connection) or another, not {shown}."
        )
    return _plugin(name)


def reload_job(text: str, protocol: GenericProtocol | None = None) -> GenericJob:
    """Make a job from what its `dump` returned, in this process or another; no I/O happens.

    :param text: the dumped job.
    :param protocol: how to reach the host that it was submitted to; None for this machine.
    :raises ConfigurationError: the text is no dumped job, or its plugin is not installed.
    """
    data = _parsed(text)
    plugin = _plugin(data["plugin"])
    if not isinstance(plugin, Reloader):
        raise ConfigurationError(f"The plugin {data['plugin']!r} can not reload jobs: it has no reload_job method.")
    try:
        return plugin.reload_job(data, protocol)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ConfigurationError(f"The dumped job is damaged: {error!r}.") from error


def _parsed(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"This is not a dumped job, since it is not JSON: {repr(text)[:60]}.") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or not isinstance(data.get("plugin"), str):
        raise ConfigurationError("This is not a dumped job, or a later version of the library wrote it.")
    return data


@cache  # looking through all installed packages takes milliseconds, and sweeps make thousands of jobs
def _plugin(name: str) -> Plugin:
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        raise ConfigurationError(f"There is no plugin {name!r}; the known ones are {', '.join(sorted(found))}.")
    return _loaded(found[name])


def _loaded(point: EntryPoint) -> Plugin:
    try:
        plugin = point.load()()
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigurationError(f"The plugin {point.name!r} ({point.value}) does not load: {error}.") from error
    if not isinstance(plugin, Plugin):
        raise ConfigurationError(f"The plugin {point.name!r} ({point.value}) lacks a description or create_job.")
    return plugin
