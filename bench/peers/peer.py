# SPDX-License-Identifier: Apache-2.0
"""What the Python peers share: the protocol that run.py speaks with every peer (peer.hpp tells it), and threads.

Import it before the tool: it keeps libraries from starting threads of their own. For each of its jobs (JOB, or JOB:FORM
where there are several ways) a peer has a function that makes of a Job the number of paths in a chunk and a function
chunk(seed) -> sums of S over the chunk's paths at the 100 checkpoints. What is compiled is compiled by the first
request, which run.py does not count.
"""
import json
import os
import sys

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import concurrent.futures
import resource
import time

import jobs


def cpu_seconds():
    use = resource.getrusage(resource.RUSAGE_SELF)
    return use.ru_utime + use.ru_stime


def serve(version, makers):
    """Runs the peer of `version`; `makers` maps the jobs it can do to what makes (chunk_paths, chunk) of a Job."""
    if len(sys.argv) != 3 or sys.argv[1] not in makers:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} {'|'.join(makers)} THREADS")
    job, threads = jobs.load(sys.argv[1].partition(":")[0]), int(sys.argv[2])
    chunk_paths, chunk = makers[sys.argv[1]](job)
    print(json.dumps({"version": version, "chunk_paths": chunk_paths}), flush=True)

    def work(seeds):
        return sum(chunk(seed) for seed in seeds)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        for line in sys.stdin:
            seed, chunks = map(int, line.split())
            cpu, start = cpu_seconds(), time.perf_counter()
            assert seed < 2**12 and chunks <= 2**20
            seeds = [(seed << 20) + index for index in range(chunks)]  # 32 bits are all that some generators take
            sums = sum(pool.map(work, [seeds[thread::threads] for thread in range(min(threads, chunks))]))
            seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            paths = chunks * chunk_paths
            print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "paths": paths,
                              "mean": [float(one) / paths for one in sums]}), flush=True)
