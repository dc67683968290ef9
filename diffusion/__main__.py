"""`python -m diffusion` is the command line."""

from diffusion.cli import app

app()
