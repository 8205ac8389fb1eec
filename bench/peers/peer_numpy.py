# SPDX-License-Identifier: Apache-2.0
"""NumPy: float32 arrays over paths that stay in cache, written in place, with its fastest generator (SFC64)."""
import peer  # first

import numpy as np

FLOAT = np.float32


def scalar_dsgd(job):
    paths = 8192
    eta, scale = FLOAT(job.eta), FLOAT(job.eta * job.sigma)

    def chunk(seed):
        generator = np.random.Generator(np.random.SFC64(seed))
        sums = np.zeros(100)
        x = np.full(paths, job.start, FLOAT)
        noise, factor = np.empty(paths, FLOAT), np.empty(paths, FLOAT)
        for step in range(1, job.steps + 1):
            generator.standard_normal(out=noise, dtype=FLOAT)
            noise *= scale
            np.multiply(x, x, out=factor)
            factor *= -eta
            factor += FLOAT(1)
            x *= factor  # x (1 - eta x^2)
            x += noise
            if step % job.every == 0:
                sums[step // job.every - 1] = (np.square(np.square(x)) * FLOAT(0.25)).sum(dtype=np.float64)
        return sums

    return paths, chunk


def vector_method(job, paths, new_direction_of):
    """new_direction_of(generator, h) -> a function of x, the sum of the workers' messages."""
    h = np.array(job.h, FLOAT)
    rate = FLOAT(job.eta / job.workers * (len(h) / job.kept if job.kept else 1.0))

    def chunk(seed):
        sums = np.zeros(100)
        new_direction = new_direction_of(np.random.Generator(np.random.SFC64(seed)), h)
        x = np.full((paths, len(h)), job.start, FLOAT)
        for step in range(1, job.steps + 1):
            x -= rate * new_direction(x)
            if step % job.every == 0:
                sums[step // job.every - 1] = (FLOAT(0.5) * h * x * x).sum(dtype=np.float64)
        return sums

    return paths, chunk


def dcsgd(job):
    paths, dim, kept = 256, len(job.h), job.kept
    subsets = paths * job.workers  # one for each worker of each path

    def new_direction_of(generator, h):
        order = np.repeat(np.arange(dim), subsets)  # of the coordinates, a column a subset
        column = np.arange(subsets)
        first = column // job.workers * dim  # where the path's x starts
        left = np.arange(dim, dim - kept, -1, dtype=FLOAT)[:, None]
        offset = np.arange(kept)[:, None] * subsets + column
        chosen, noise = np.empty((kept, subsets), np.intp), np.empty((kept, subsets), FLOAT)

        def new_direction(x):
            others = (generator.random((kept, subsets), dtype=FLOAT) * left).astype(np.intp)
            others *= subsets
            others += offset
            for i in range(kept):  # the first swaps of a Fisher-Yates shuffle, of all subsets together
                here = order[i * subsets:(i + 1) * subsets]
                order.take(others[i], out=chosen[i])
                order[others[i]] = here
                here[:] = chosen[i]
            chosen_x = chosen + first
            generator.standard_normal(out=noise, dtype=FLOAT)  # on what is kept only
            np.multiply(noise, FLOAT(job.sigma), out=noise)
            np.add(noise, (h * x).take(chosen_x), out=noise)
            return np.bincount(chosen_x.ravel(), noise.ravel(), paths * dim).astype(FLOAT).reshape(paths, dim)

        return new_direction

    return vector_method(job, paths, new_direction_of)


def dsignsgd(job):
    paths = 32
    shape = (job.workers, paths, len(job.h))
    assert job.sigma == 1.0 and job.nu in (2, 3)

    def new_direction_of(generator, h):
        ratio, z = np.empty(shape, FLOAT), np.empty(shape, FLOAT)

        def new_direction(x):
            """sign(h x + t), t = z / sqrt(chi^2/nu): of h x sqrt(chi^2/nu) + z. chi^2 is 2 e, for nu = 3 2 e + y^2."""
            generator.standard_exponential(out=ratio, dtype=FLOAT)
            if job.nu == 3:
                generator.standard_normal(out=z, dtype=FLOAT)
                np.add(FLOAT(2) * ratio, z * z, out=ratio)
                np.multiply(ratio, FLOAT(1 / 3), out=ratio)
            np.sqrt(ratio, out=ratio)
            np.multiply(ratio, h * x, out=ratio)
            generator.standard_normal(out=z, dtype=FLOAT)
            np.add(ratio, z, out=ratio)
            return np.sign(ratio, out=ratio).sum(0)

        return new_direction

    return vector_method(job, paths, new_direction_of)


if __name__ == "__main__":
    peer.serve(f"NumPy {np.__version__}", {"j1": scalar_dsgd, "j2": dcsgd, "j3": dsignsgd, "j3_nu3": dsignsgd})
