"""`ai-agent completion`: the script by which a shell completes commands, options and choices."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options and their choices with the Tab key.

    \b
    Examples:
      eval "$(ai-agent completion bash)"       # in ~/.bashrc
      eval "$(ai-agent completion zsh)"        # in ~/.zshrc
      ai-agent completion fish > ~/.config/fish/completions/ai-agent.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    click.echo(found(root, {}, "ai-agent", "_AI_AGENT_COMPLETE").source())
