# SPDX-License-Identifier: Apache-2.0
"""diffrax: Euler with constant steps on dX = -X^3 dt + sqrt(eta) sigma dW, jit, float32.

j4 has many paths as one state, which is how diffrax is fastest here; j4:vmap maps diffeqsolve over paths, which is how
its documentation runs many.
"""
import peer  # first

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np

PATHS = 8192


def solved(job, shape, key):
    """The state at the checkpoints, of that shape."""
    end = job.steps * job.eta
    diffusion = np.full(shape, job.eta**0.5 * job.sigma, np.float32)  # constants for the compiler
    motion = diffrax.UnsafeBrownianPath(shape=shape, key=key)  # constant steps: no tree of intervals is needed
    matrix = lineax.DiagonalLinearOperator(jnp.asarray(diffusion)) if shape else diffusion
    terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, x, args: -(x * x * x)),
                              diffrax.ControlTerm(lambda t, x, args: matrix, motion))
    saved = diffrax.SaveAt(ts=np.linspace(0.0, end, 101)[1:])
    return diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, end, dt0=job.eta, saveat=saved, throw=False,
                               y0=np.full(shape, job.start, np.float32), max_steps=job.steps + 10,
                               adjoint=diffrax.ForwardMode()).ys


def as_one_state(job):
    run = jax.jit(lambda key: (solved(job, (PATHS,), key) ** 4).sum(1) / 4)
    return PATHS, lambda seed: np.asarray(run(jax.random.key(seed)), np.float64)


def mapped(job):
    run = jax.jit(lambda keys: (jax.vmap(lambda key: solved(job, (), key))(keys) ** 4).sum(0) / 4)
    return PATHS, lambda seed: np.asarray(run(jax.random.split(jax.random.key(seed), PATHS)), np.float64)


if __name__ == "__main__":
    peer.serve(f"diffrax {diffrax.__version__}, JAX {jax.__version__}", {"j4": as_one_state, "j4:vmap": mapped})
