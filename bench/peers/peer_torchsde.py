# SPDX-License-Identifier: Apache-2.0
"""torchsde: sdeint by Euler on dX = -X^3 dt + sqrt(eta) sigma dW, float32, diagonal noise, many paths a batch."""
import peer  # first

import importlib.metadata

import numpy as np
import torch
import torchsde

torch.set_num_threads(1)


class Quartic:
    noise_type, sde_type = "diagonal", "ito"

    def __init__(self, job):
        self.diffusion = job.eta**0.5 * job.sigma

    def f(self, t, x):
        return -(x**3)

    def g(self, t, x):
        return torch.full_like(x, self.diffusion)


def make(job):
    paths, end = 65536, job.steps * job.eta
    sde, times = Quartic(job), torch.linspace(0.0, end, 101)

    @torch.inference_mode()
    def chunk(seed):
        motion = torchsde.BrownianInterval(0.0, end, (paths, 1), dtype=torch.float32, entropy=seed % 2**63, dt=job.eta)
        x = torchsde.sdeint(sde, torch.full((paths, 1), job.start), times, bm=motion, dt=job.eta, method="euler")
        return (x[1:, :, 0] ** 4).sum(1, dtype=torch.float64).numpy() / 4

    return paths, chunk


if __name__ == "__main__":
    peer.serve(f"torchsde {importlib.metadata.version('torchsde')}, PyTorch {torch.__version__}", {"j4": make})
