"""An SSH host through the agent: what configuration and ~/.ssh/config say, made into a Link that others share."""

from __future__ import annotations

from collections.abc import Callable

from drawbar.agent import launch
from drawbar.config import TargetConfig
from drawbar.dispatch.agents import AgentDispatcher
from drawbar.dispatch.link import Link, link_to
from drawbar.dispatch.port import Channel
from drawbar.dispatch.ssh_config import HostSpec, resolve

PYTHON = "python3"


def ssh_dispatcher(name: str, config: TargetConfig) -> AgentDispatcher:
    """The dispatcher for the host of `config`; all that lead to the same user, host and folder share one connection."""
    spec, python, root = spec_of(config), config.python or PYTHON, config.root or ""

    def open_channel(digest: Callable[[], str]) -> Channel:
        from drawbar.dispatch import ssh

        return ssh.open_channel(spec, lambda: launch.command(python, digest(), root))

    return AgentDispatcher(name, link_to((spec, python, root), lambda: Link(name, open_channel)), config)


def spec_of(config: TargetConfig) -> HostSpec:
    """The host that `config` names, with everything needed to reach it. Raises what `ssh_config.resolve` raises."""
    assert config.host is not None
    return resolve(
        config.host,
        user=config.user,
        port=config.port,
        identity_file=config.identity_file,
        known_hosts=config.known_hosts,
        ssh_config=config.ssh_config,
        connect_timeout=config.connect_timeout,
    )
