# SPDX-License-Identifier: Apache-2.0
"""The jobs of docs/performance.md, read from the experiments that the engine runs (bench/experiments/performance_*)."""
import dataclasses
import pathlib
import tomllib

EXPERIMENTS = pathlib.Path(__file__).resolve().parent.parent / "experiments"
CHECKPOINTS = 100


@dataclasses.dataclass(frozen=True)
class Job:
    """One curve: a scalar DSGD on x^4/4 (j1, j4), or a method of `workers` workers on sum h_j x_j^2 / 2."""
    name: str
    experiment: str  # the shipped experiment
    overrides: tuple  # of its keys, as pathbound --set takes them
    curve: str  # the curve of interest; an SDE model for j4
    steps: int
    eta: float
    sigma: float
    nu: float  # of Student-t noise; 0: Gaussian
    start: float
    workers: int
    kept: int  # coordinates that rand_k keeps; 0: no compressor
    h: tuple  # eigenvalues; empty: x^4/4

    @property
    def every(self):
        """Steps from one checkpoint to the next."""
        return self.steps // CHECKPOINTS

    @property
    def scalar(self):
        return not self.h


def load(name):
    """Job j1, j2, j3, j4, or j3_nu3 and j3_n64: j3 with 3 degrees of freedom, with 64 workers."""
    base, _, variant = name.partition("_")
    overrides = {"": (), "nu3": ("noise.nu=3.0",), "n64": ("workers.count=64",)}[variant]
    experiment = f"performance_{base}"
    data = tomllib.loads((EXPERIMENTS / f"{experiment}.toml").read_text())
    noise, workers = data.get("noise", {}), data.get("workers", {})
    for override in overrides:
        key, value = override.split("=")
        table, key = key.split(".")
        {"noise": noise, "workers": workers}[table][key] = float(value) if "." in value else int(value)
    method = next(curve for curve in data["curve"] if "method" in curve)
    h = ()
    if data["objective"]["kind"] == "quadratic":
        spectrum, dim = data["objective"]["spectrum"], data["objective"]["dim"]
        low, high = spectrum["min"], spectrum["max"]
        h = tuple(low * (high / low) ** (j / (dim - 1)) for j in range(dim))
    assert data["checkpoints"] == CHECKPOINTS and data["steps"] % CHECKPOINTS == 0
    return Job(name, experiment, overrides, data["curve"][-1]["name"], data["steps"], method["eta"],
               noise.get("scale", 1.0), noise.get("nu", 0.0), data["objective"]["start"], workers.get("count", 1),
               method.get("compressor", {}).get("k", 0), h)
