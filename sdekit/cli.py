"""The command line: `sdekit simulate PROCESS ...`."""

import time
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, NoReturn

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


# Name: process, its starts, its parameters with defaults, end time, steps, what it is
PROCESSES = {
    "brownian": (sk.BrownianMotion, {"x0": 0.0}, {"mu": 0.0, "sigma": 1.0}, 1.0, 1000,
                 "Brownian motion, dX = mu dt + sigma dW."),
    "drift": (sk.LinearDrift, {"x0": 10.0}, {"a": 0.1, "sigma": 1.0}, 10.0, 1000,
              "Linear drift, dX = a X dt + sigma dW."),
    "gbm": (sk.GeometricBrownianMotion, {"x0": 100.0}, {"mu": 0.05, "sigma": 0.2}, 1.0, 252,
            "Geometric Brownian motion, dS = mu S dt + sigma S dW."),
    "ou": (sk.OrnsteinUhlenbeck, {"x0": 1.0}, {"kappa": 1.0, "theta": 0.0, "sigma": 1.0}, 5.0, 500,
           "Ornstein-Uhlenbeck, dX = kappa (theta - X) dt + sigma dW."),
    "bridge": (sk.BrownianBridge, {"x0": 0.0}, {"end": 0.0, "horizon": 1.0, "sigma": 1.0}, 1.0, 1000,
               "Brownian bridge, dX = (end - X) / (horizon - t) dt + sigma dW."),
    "cir": (sk.CoxIngersollRoss, {"x0": 0.04}, {"kappa": 1.0, "theta": 0.04, "sigma": 0.2}, 5.0, 500,
            "Square-root process, dX = kappa (theta - X) dt + sigma sqrt(X) dW."),
    "heston": (sk.Heston, {"x0": 100.0, "v0": 0.04}, {"mu": 0.05, "kappa": 2.0, "theta": 0.04, "xi": 0.5, "rho": -0.7},
               1.0, 252, "Heston's stock, dS = mu S dt + sqrt(v) S dW1, dv = kappa (theta - v) dt + xi sqrt(v) dW2."),
    "double-well": (sk.DoubleWell, {"x0": 0.0}, {"a": 1.0, "b": 1.0, "sigma": 0.5}, 50.0, 5000,
                    "A particle in a double well, dX = (a X - b X^3) dt + sigma dW."),
    "poisson": (sk.PoissonProcess, {"x0": 0.0}, {"rate": 1.0}, 10.0, 1000,
                "Poisson process: counts events that come at a constant rate."),
    "queue": (sk.Queue, {"x0": 0.0}, {"arrivals": 1.0, "services": 1.5}, 50.0, 1000,
              "The length of an M/M/1 queue."),
}


def _command(process, starts: dict[str, float], parameters: dict[str, float], end: float, steps: int, about: str):
    """The command of a process: its starts and parameters as options, then what all have in common."""
    def run(**given) -> None:
        first, *others = (given.pop(name) for name in starts)
        made = {name: given.pop(name) for name in parameters}
        _run(lambda: process(**made), (first, *others) if others else first, **given)

    options: dict[str, tuple[Any, Any]] = {name: (float, value) for name, value in {**starts, **parameters}.items()}
    options |= {"until": (End, end), "steps": (Steps, steps), "paths": (Count, 1000), "seed": (Seed, None),
                "save": (Save, None), "method": (Named, None), "rtol": (Relative, None), "plot": (Plot, None),
                "out": (Out, None)}
    keyword = Parameter.POSITIONAL_OR_KEYWORD
    shown: Any = run
    shown.__signature__ = Signature([Parameter(k, keyword, annotation=kind, default=default)
                                     for k, (kind, default) in options.items()])
    run.__annotations__ = {k: kind for k, (kind, _) in options.items()}
    run.__doc__ = about
    return run


for _name, _about in PROCESSES.items():
    simulate.command(_name)(_command(*_about))


def _run(process, x0, until, steps, paths, seed, save, method, rtol, plot, out) -> None:
    if plot and plot.suffix not in (".png", ".pdf", ".svg", ".jpg"):
        _fail(f"--plot must be a file name ending in .png, .pdf, .svg or .jpg, got {str(plot)!r}")
    start = time.perf_counter()
    try:
        for file in filter(None, (plot, out)):
            file.parent.mkdir(parents=True, exist_ok=True)
        result = sk.simulate(process(), x0, until, steps, paths, seed=seed, save="all" if save is None else save,
                             method=_method(method), rtol=rtol)
    except (TypeError, ValueError, MemoryError, FloatingPointError, OSError) as error:
        _fail(error)
    seconds = time.perf_counter() - start
    typer.echo(result)
    for k, x in enumerate(np.atleast_2d(result.final.T)):
        low, median, high = np.quantile(x, [0.05, 0.5, 0.95])
        error = f" ± {x.std() / np.sqrt(paths - 1):.2g} (standard error)" if paths > 1 else ""
        which = f", component {k}" if result.final.ndim > 1 else ""
        typer.echo(f"at t = {result.t[-1]:g}{which}: mean {x.mean():.6g}{error}, "
                   f"sd {x.std():.6g}, 5% {low:.6g}, median {median:.6g}, 95% {high:.6g}")
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
