# SPDX-License-Identifier: Apache-2.0
"""JAX on the CPU: jit, lax.scan over the steps, float32, its default generator (threefry)."""
import peer  # first

import os

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random


def simulated(job, start, step, suboptimality):
    """chunk(seed) of a method whose step is x' = step(x, key)."""

    @jax.jit
    def run(key):
        def to_checkpoint(x, key):
            x, _ = lax.scan(lambda x, key: (step(x, key), None), x, random.split(key, job.every))
            return x, suboptimality(x)

        return lax.scan(to_checkpoint, start, random.split(key, 100))[1]

    return lambda seed: np.asarray(run(random.key(seed)), np.float64)


def scalar_dsgd(job):
    paths = 8192

    def step(x, key):
        return x - job.eta * (x * x * x + job.sigma * random.normal(key, x.shape, jnp.float32))

    return paths, simulated(job, jnp.full(paths, job.start, jnp.float32), step, lambda x: (x**4).sum() / 4)


def vector_method(job, paths, direction):
    """direction(key, gradient) -> the sum of the workers' messages."""
    h = jnp.array(job.h, jnp.float32)
    rate = job.eta / job.workers * (len(job.h) / job.kept if job.kept else 1.0)
    start = jnp.full((paths, len(job.h)), job.start, jnp.float32)
    return paths, simulated(job, start, lambda x, key: x - rate * direction(key, h * x),
                            lambda x: (0.5 * h * x * x).sum())


def dcsgd(job):
    paths, dim, kept = 256, len(job.h), job.kept
    subsets = paths * job.workers  # one for each worker of each path
    column = jnp.arange(subsets)
    path = column // job.workers
    left = jnp.arange(dim, dim - kept, -1, dtype=jnp.float32)[:, None]

    def direction(key, gradient):
        of_subset, of_noise = random.split(key)
        others = (random.uniform(of_subset, (kept, subsets)) * left).astype(jnp.int32) + jnp.arange(kept)[:, None]

        def swap(order, item):  # one of the first swaps of a Fisher-Yates shuffle, of all subsets together
            i, other = item
            here, chosen = order[i], order[other, column]
            return order.at[other, column].set(here, unique_indices=True).at[i].set(chosen), chosen

        order = jnp.broadcast_to(jnp.arange(dim)[:, None], (dim, subsets))
        _, chosen = lax.scan(swap, order, (jnp.arange(kept), others))
        noise = random.normal(of_noise, (kept, subsets))  # on what is kept only
        return jnp.zeros_like(gradient).at[path, chosen].add(gradient[path, chosen] + job.sigma * noise)

    return vector_method(job, paths, direction)


def dsignsgd(job):
    paths = 128
    shape = (job.workers, paths, len(job.h))
    assert job.sigma == 1.0 and job.nu in (2, 3)

    def direction(key, gradient):
        """sign(h x + t), t = z / sqrt(chi^2/nu): of h x sqrt(chi^2/nu) + z. chi^2 is 2 e, for nu = 3 2 e + y^2."""
        of_z, of_e, of_y = random.split(key, 3)
        ratio = random.exponential(of_e, shape)
        if job.nu == 3:
            ratio = (2.0 * ratio + jnp.square(random.normal(of_y, shape))) / 3.0
        return jnp.sign(gradient * jnp.sqrt(ratio) + random.normal(of_z, shape)).sum(0)

    return vector_method(job, paths, direction)


if __name__ == "__main__":
    peer.serve(f"JAX {jax.__version__}", {"j1": scalar_dsgd, "j2": dcsgd, "j3": dsignsgd, "j3_nu3": dsignsgd})
