"""The command line: `diffusion train | sample | evaluate | compare`, a file each."""

import typer

from diffusion.cli.compare import compare
from diffusion.cli.evaluate import evaluate
from diffusion.cli.sample import sample
from diffusion.cli.terminal import plain_warnings
from diffusion.cli.train import train

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.command(no_args_is_help=True)(train)
app.command()(sample)
app.command()(evaluate)
app.command()(compare)


@app.callback()
def main(context: typer.Context) -> None:
    """Train diffusion models, sample from them, measure what they make."""
    context.with_resource(plain_warnings())
