"""`bentoml completion`: the script by which a shell completes this command."""

from __future__ import annotations

import click

from bentoml.cli.group import Command

__all__ = ["completion"]

#: Bash takes a colon for the end of a word, which would take every tag apart.
_BASH_WHOLE_TAGS = "COMP_WORDBREAKS=${COMP_WORDBREAKS//:}\n"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command.

    Names of commands and options, tags of models and keys of the configuration are completed.

    \b
    bash  add to ~/.bashrc:  eval "$(bentoml completion bash)"
    zsh   add to ~/.zshrc:   eval "$(bentoml completion zsh)"
    fish  once:              bentoml completion fish > ~/.config/fish/completions/bentoml.fish
    """
    from click.shell_completion import get_completion_class

    shell_class = get_completion_class(shell)
    assert shell_class is not None
    script = shell_class(ctx.find_root().command, {}, "bentoml", "_BENTOML_COMPLETE").source()
    click.echo((_BASH_WHOLE_TAGS if shell == "bash" else "") + script)
