"""The command line: `sdekit simulate PROCESS ...`."""

import time
from pathlib import Path
from typing import Annotated, NoReturn

import numpy as np
import typer

import sdekit as sk
from sdekit.named import METHODS, named

app = typer.Typer(help="Simulate stochastic differential equations.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)
simulate = typer.Typer(help="Simulate paths of a process; say what they do; plot or keep them.", no_args_is_help=True)
app.add_typer(simulate, name="simulate")

End = Annotated[float, typer.Option("-T", "--time", help="End time; paths start at 0.")]
Steps = Annotated[int, typer.Option(help="Number of equal steps.")]
Count = Annotated[int, typer.Option("--paths", help="Number of paths.")]
Seed = Annotated[int | None, typer.Option(help="Seed, 0 to 2^64 - 1; drawn and printed if not given.")]
Save = Annotated[int | None, typer.Option(help="Keep this many equally spaced times instead of all.")]
Named = Annotated[str | None, typer.Option("--method", help="euler_maruyama, milstein, sri, ... instead of the exact "
                                                            "transition.")]
Relative = Annotated[float | None, typer.Option("--rtol", help="Adaptive steps of this relative error; --steps is the "
                                                               "coarsest grid.")]
Plot = Annotated[Path | None, typer.Option(help="Draw a fan chart into this file (.png, .pdf, .svg).")]
Out = Annotated[Path | None, typer.Option(help="Write times and values to this .npz file.")]


@app.callback()
def main() -> None:
    """Simulate stochastic differential equations."""


@simulate.command()
def brownian(x0: float = 0.0, mu: float = 0.0, sigma: float = 1.0, end: End = 1.0, steps: Steps = 1000,
             paths: Count = 1000, seed: Seed = None, save: Save = None, method: Named = None, rtol: Relative = None,
             plot: Plot = None, out: Out = None) -> None:
    """Brownian motion, dX = mu dt + sigma dW."""
    _run(lambda: sk.BrownianMotion(mu, sigma), x0, end, steps, paths, seed, save, method, rtol, plot, out)


@simulate.command()
def drift(x0: float = 10.0, a: float = 0.1, sigma: float = 1.0, end: End = 10.0, steps: Steps = 1000,
          paths: Count = 1000, seed: Seed = None, save: Save = None,
          method: Named = None, rtol: Relative = None, plot: Plot = None, out: Out = None) -> None:
    """Linear drift, dX = a X dt + sigma dW."""
    _run(lambda: sk.LinearDrift(a, sigma), x0, end, steps, paths, seed, save, method, rtol, plot, out)


@simulate.command()
def gbm(x0: float = 100.0, mu: float = 0.05, sigma: float = 0.2, end: End = 1.0, steps: Steps = 252,
        paths: Count = 1000, seed: Seed = None, save: Save = None,
        method: Named = None, rtol: Relative = None, plot: Plot = None, out: Out = None) -> None:
    """Geometric Brownian motion, dS = mu S dt + sigma S dW."""
    _run(lambda: sk.GeometricBrownianMotion(mu, sigma), x0, end, steps, paths, seed, save, method, rtol, plot, out)


@simulate.command()
def ou(x0: float = 1.0, kappa: float = 1.0, theta: float = 0.0, sigma: float = 1.0, end: End = 5.0,
       steps: Steps = 500, paths: Count = 1000, seed: Seed = None, save: Save = None,
       method: Named = None, rtol: Relative = None, plot: Plot = None, out: Out = None) -> None:
    """Ornstein-Uhlenbeck, dX = kappa (theta - X) dt + sigma dW."""
    _run(lambda: sk.OrnsteinUhlenbeck(kappa, theta, sigma), x0, end, steps, paths, seed, save, method, rtol, plot, out)


def _run(process, x0, end, steps, paths, seed, save, method, rtol, plot, out) -> None:
    if plot and plot.suffix not in (".png", ".pdf", ".svg", ".jpg"):
        _fail(f"--plot must be a file name ending in .png, .pdf, .svg or .jpg, got {str(plot)!r}")
    start = time.perf_counter()
    try:
        for file in filter(None, (plot, out)):
            file.parent.mkdir(parents=True, exist_ok=True)
        result = sk.simulate(process(), x0, end, steps, paths, seed=seed, save="all" if save is None else save,
                             method=_method(method), rtol=rtol)
    except (TypeError, ValueError, MemoryError, FloatingPointError, OSError) as error:
        _fail(error)
    seconds = time.perf_counter() - start
    typer.echo(result)
    low, median, high = (q[-1] for q in result.quantile([0.05, 0.5, 0.95]))
    error = f" ± {result.std()[-1] / np.sqrt(paths - 1):.2g} (standard error)" if paths > 1 else ""
    typer.echo(f"at t = {result.t[-1]:g}: mean {result.mean()[-1]:.6g}{error}, "
               f"sd {result.std()[-1]:.6g}, 5% {low:.6g}, median {median:.6g}, 95% {high:.6g}")
    typer.echo(f"{paths * steps / seconds / 1e6:.1f} M path-steps/s, {seconds:.2f} s")
    try:
        if out:
            typer.echo(f"wrote {result.save(out)}")
        if plot:
            import matplotlib
            matplotlib.use("Agg")
            figure = result.plot().get_figure(root=True)
            assert figure is not None
            figure.savefig(plot, dpi=120)
            typer.echo(f"wrote {plot}")
    except OSError as error:
        _fail(error)


def _method(name: str | None) -> sk.Method | None:
    """The library's method of this name."""
    if name is None:
        return None
    method = named(name)
    if isinstance(method, sk.Method):
        return method
    known = sorted(k for k, m in METHODS.items() if isinstance(m, sk.Method))
    raise ValueError(f"--method must be one of {', '.join(known)}, theta(0.5), srock_with(5); got {name!r}")


def _fail(error) -> NoReturn:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
