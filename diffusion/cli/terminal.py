"""What is said on the terminal, and the files that a command writes."""

import os
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import typer

PICTURES = (".png", ".pdf", ".svg", ".jpg")
ERRORS = (TypeError, ValueError, OSError, FloatingPointError, MemoryError, RuntimeError)


@contextmanager
def plain_errors() -> Iterator[None]:
    """What goes wrong is one line and the exit code 2; Ctrl-C is 130."""
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        raise typer.Exit(130) from None
    except ERRORS as error:
        line = " ".join(str(error).split()) or type(error).__name__
        typer.echo(f"error: {line}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def end_as_interrupt() -> Iterator[None]:
    """An ordinary kill (SIGTERM, as of `timeout`, containers, schedulers) is Ctrl-C."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """A warning is a line of its own, not a place in the source."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def check_file(flag: str, path: Path | None, kinds: tuple[str, ...]) -> None:
    """Before any work: whether a file of this name can be written."""
    if path is None:
        return
    if path.is_dir() or path.suffix not in kinds:
        raise ValueError(f"{flag} must be the name of a file ending in {' or '.join(kinds)}, got {str(path)!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"{flag}: the folder of {path} cannot be made ({error}); choose another place") from None
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise PermissionError(f"{flag} {path} cannot be written here; choose another place")


def write(ax: Any, path: Path) -> None:
    """The axes' figure into a file; it is closed."""
    try:
        ax.figure.savefig(path, dpi=120)
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
    finally:
        plt.close(ax.figure)
