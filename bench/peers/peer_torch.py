# SPDX-License-Identifier: Apache-2.0
"""PyTorch on the CPU: float32 tensors over paths that stay in cache, in-place operations, a generator of its own for
each thread (PyTorch's random fills use one thread each)."""
import peer  # first

import numpy as np
import torch

torch.set_num_threads(1)
torch.set_grad_enabled(False)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def scalar_dsgd(job):
    paths = 16384

    @torch.inference_mode()
    def chunk(seed):
        generator, sums = seeded(seed), np.zeros(100)
        x, noise, square = torch.full((paths,), job.start), torch.empty(paths), torch.empty(paths)
        for step in range(1, job.steps + 1):
            noise.normal_(0.0, job.eta * job.sigma, generator=generator)
            torch.mul(x, x, out=square)
            x.addcmul_(square, x, value=-job.eta).add_(noise)
            if step % job.every == 0:
                sums[step // job.every - 1] = x.square().square_().sum(dtype=torch.float64).item() / 4
        return sums

    return paths, chunk


def vector_method(job, paths, new_direction_of):
    """new_direction_of(generator, h) -> a function of x, the sum of the workers' messages."""
    h = torch.tensor(job.h)
    rate = job.eta / job.workers * (len(job.h) / job.kept if job.kept else 1.0)

    @torch.inference_mode()
    def chunk(seed):
        sums = np.zeros(100)
        new_direction = new_direction_of(seeded(seed), h)
        x = torch.full((paths, len(job.h)), job.start)
        for step in range(1, job.steps + 1):
            x.sub_(new_direction(x), alpha=rate)
            if step % job.every == 0:
                sums[step // job.every - 1] = (0.5 * h * x * x).sum(dtype=torch.float64).item()
        return sums

    return paths, chunk


def dcsgd(job):
    paths, dim, kept = 256, len(job.h), job.kept
    subsets = paths * job.workers  # one for each worker of each path

    def new_direction_of(generator, h):
        order = torch.arange(dim).repeat_interleave(subsets)  # of the coordinates, a column a subset
        column = torch.arange(subsets)
        first = column // job.workers * dim  # where the path's x starts
        left = torch.arange(dim, dim - kept, -1, dtype=torch.float32)[:, None]
        offset = torch.arange(kept)[:, None] * subsets + column
        uniforms, noise = torch.empty(kept, subsets), torch.empty(kept, subsets)
        others, chosen = torch.empty(kept, subsets, dtype=torch.int64), torch.empty(kept, subsets, dtype=torch.int64)
        direction = torch.empty(paths * dim)

        def new_direction(x):
            others.copy_(uniforms.uniform_(generator=generator).mul_(left)).mul_(subsets).add_(offset)
            for i in range(kept):  # the first swaps of a Fisher-Yates shuffle, of all subsets together
                here = order[i * subsets:(i + 1) * subsets]
                torch.gather(order, 0, others[i], out=chosen[i])
                order.scatter_(0, others[i], here.clone())
                here.copy_(chosen[i])
            of_x = chosen.add_(first).view(-1)
            gradients = (h * x).view(-1).gather(0, of_x)
            gradients.add_(noise.normal_(0.0, job.sigma, generator=generator).view(-1))  # on what is kept only
            return direction.zero_().scatter_add_(0, of_x, gradients).view(paths, dim)

        return new_direction

    return vector_method(job, paths, new_direction_of)


def dsignsgd(job):
    paths = 32
    shape = (job.workers, paths, len(job.h))
    assert job.sigma == 1.0 and job.nu in (2, 3)

    def new_direction_of(generator, h):
        ratio, z = torch.empty(shape), torch.empty(shape)

        def new_direction(x):
            """sign(h x + t), t = z / sqrt(chi^2/nu): of h x sqrt(chi^2/nu) + z. chi^2 is 2 e, for nu = 3 2 e + y^2."""
            ratio.uniform_(generator=generator).log_().neg_()  # several times as fast as exponential_()
            if job.nu == 3:
                z.normal_(generator=generator)
                ratio.mul_(2 / 3).addcmul_(z, z, value=1 / 3)
            ratio.sqrt_().mul_(h * x).add_(z.normal_(generator=generator))
            return ratio.sign_().sum(0)

        return new_direction

    return vector_method(job, paths, new_direction_of)


if __name__ == "__main__":
    peer.serve(f"PyTorch {torch.__version__}", {"j1": scalar_dsgd, "j2": dcsgd, "j3": dsignsgd, "j3_nu3": dsignsgd})
