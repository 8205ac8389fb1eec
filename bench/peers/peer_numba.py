# SPDX-License-Identifier: Apache-2.0
"""Numba: loops path by path, compiled, without the GIL, with fast arithmetic and a NumPy generator (SFC64),
which is several times as fast inside compiled code as Numba's own np.random functions."""
import peer  # first

import numba
import numpy as np

FLOAT = np.float32
compiled = numba.njit(nogil=True, fastmath=True)


def scalar_dsgd(job):
    paths = 256
    eta, sigma, start, every = FLOAT(job.eta), FLOAT(job.sigma), FLOAT(job.start), job.every

    @compiled
    def simulate(generator):
        sums = np.zeros(100)
        for _ in range(paths):
            x = start
            for c in range(100):
                for _ in range(every):
                    x -= eta * (x * x * x + sigma * FLOAT(generator.standard_normal()))
                sums[c] += x * x * x * x * FLOAT(0.25)
        return sums

    return paths, lambda seed: simulate(np.random.Generator(np.random.SFC64(seed)))


def vector_method(job, add):
    """add(generator, h, x, direction): adds the workers' messages to `direction`."""
    paths, dim, every, start = 4, len(job.h), job.every, FLOAT(job.start)
    h = np.array(job.h, FLOAT)
    rate = FLOAT(job.eta / job.workers * (dim / job.kept if job.kept else 1.0))

    @compiled
    def simulate(generator):
        sums = np.zeros(100)
        x, direction = np.empty(dim, FLOAT), np.empty(dim, FLOAT)
        for _ in range(paths):
            x[:] = start
            for c in range(100):
                for _ in range(every):
                    direction[:] = 0
                    add(generator, h, x, direction)
                    for j in range(dim):
                        x[j] -= rate * direction[j]
                for j in range(dim):
                    sums[c] += FLOAT(0.5) * h[j] * x[j] * x[j]
        return sums

    return paths, lambda seed: simulate(np.random.Generator(np.random.SFC64(seed)))


def dcsgd(job):
    dim, kept, workers, sigma = len(job.h), job.kept, job.workers, FLOAT(job.sigma)

    @compiled
    def add(generator, h, x, direction):
        order = np.arange(dim)
        for _ in range(workers):
            for i in range(kept):  # the first swaps of a Fisher-Yates shuffle; noise on what is kept only
                other = i + int(generator.random() * (dim - i))
                j = order[other]
                order[other] = order[i]
                order[i] = j
                direction[j] += h[j] * x[j] + sigma * FLOAT(generator.standard_normal())

    return vector_method(job, add)


def dsignsgd(job):
    dim, workers, three = len(job.h), job.workers, job.nu == 3
    assert job.sigma == 1.0 and job.nu in (2, 3)

    @compiled
    def add(generator, h, x, direction):
        """sign(h x + t), t = z / sqrt(chi^2/nu): of h x sqrt(chi^2/nu) + z. chi^2 is 2 e, for nu = 3 2 e + y^2."""
        for _ in range(workers):
            for j in range(dim):
                ratio = FLOAT(generator.standard_exponential())
                if three:
                    y = FLOAT(generator.standard_normal())
                    ratio = (FLOAT(2) * ratio + y * y) * FLOAT(1 / 3)
                signed = h[j] * x[j] * np.sqrt(ratio) + FLOAT(generator.standard_normal())
                direction[j] += FLOAT(1) if signed > 0 else FLOAT(-1)

    return vector_method(job, add)


if __name__ == "__main__":
    peer.serve(f"Numba {numba.__version__}", {"j1": scalar_dsgd, "j2": dcsgd, "j3": dsignsgd, "j3_nu3": dsignsgd})
