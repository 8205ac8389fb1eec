#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Whether one build is slower than another: the jobs of bench_throughput in interleaved runs, compared in pairs.

  compare_builds.py BEFORE AFTER [--rounds 12] [--isa avx2,...] [--jobs J1,J2] [--threads 1] [--tolerance 2] [-o FILE]

BEFORE and AFTER are bench_throughput programs or build folders with one (build/cpu). A round runs both programs, first
the one, then the other, and the next round the other way round: what the machine does meanwhile hits both. Of each job
the geometric mean of the rounds' ratios rate(AFTER) / rate(BEFORE) is printed with its 99% confidence interval (of the
t distribution of the logarithms), which is honest when the machine is left alone and wide when it is not.
  slower   the whole interval lies below 1 - tolerance
  faster   it lies above 1 + tolerance
  equal    it lies between the two
  unknown  none of these: more rounds, or a quieter machine
Exit status: 0; 1 when a job is slower; 3 when none is, but some are unknown; 2 for what cannot be run.
"""
import argparse
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

CONFIDENCE = 0.99


def fail(message):
    print(f"compare_builds: {message}", file=sys.stderr)
    sys.exit(2)


def program_of(text):
    path = pathlib.Path(text)
    for candidate in (path, path / "bench/bench_throughput", path / "bench_throughput"):
        if candidate.is_file():
            return candidate.resolve()
    fail(f"{text}: neither a program nor a build folder with bench/bench_throughput")


def rates(program, pattern, threads, folder):
    """Path-steps/s of each benchmark of one run."""
    file = pathlib.Path(folder) / "rates.json"
    file.unlink(missing_ok=True)
    command = [program, "--threads", str(threads), f"--benchmark_filter={pattern}", "--benchmark_repetitions=1"]
    command += ["--benchmark_min_time=0.3", "--benchmark_report_aggregates_only=false"]
    command += [f"--benchmark_out={file}", "--benchmark_out_format=json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 or not file.exists() or file.stat().st_size == 0:
        fail(f"{program}: exit status {done.returncode}\n{done.stdout}{done.stderr}"[-2000:])
    found = {}
    for one in json.loads(file.read_text())["benchmarks"]:
        if one.get("run_type") == "iteration":
            found[re.sub(r"/(real_time|repeats:\d+)", "", one["name"])] = one["path-steps/s"]
    if not found:
        fail(f"{program}: no benchmark matches {pattern}")
    return found


def within(t, freedom):
    """Probability that a t variate with that many degrees of freedom lies within +-t (Abramowitz and Stegun 26.7.3)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    term, total = cosine if freedom % 2 else 1.0, 0.0
    for power in range(freedom % 2, freedom - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if freedom % 2 else sine * total


def quantile(probability, freedom):
    """The t within which a variate lies with that probability."""
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if within(middle, freedom) < probability else (low, middle)
    return high


def interval(ratios):
    """Geometric mean, and its confidence interval."""
    logs = [math.log(ratio) for ratio in ratios]
    n = len(logs)
    mean = sum(logs) / n
    deviation = math.sqrt(sum((x - mean) ** 2 for x in logs) / (n - 1))
    half = quantile(CONFIDENCE, n - 1) * deviation / math.sqrt(n)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def judge(low, high, tolerance):
    if high < 1 - tolerance:
        return "slower"
    if low > 1 + tolerance:
        return "faster"
    return "equal" if low >= 1 - tolerance and high <= 1 + tolerance else "unknown"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--isa", default="avx2,avx512", help="instruction sets (default: avx2,avx512, where there)")
    parser.add_argument("--jobs", help="names of bench/jobs.json (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tolerance", type=float, default=2.0, help="percent (default: 2)")
    parser.add_argument("-o", "--out", type=pathlib.Path, help="JSON file for the ratios")
    arguments = parser.parse_args()
    if arguments.rounds < 3:
        parser.error("--rounds must be at least 3")
    programs = [program_of(arguments.before), program_of(arguments.after)]
    jobs = arguments.jobs.split(",") if arguments.jobs else [r"J\w+"]
    pattern = f"^({'|'.join(jobs)})/({'|'.join(arguments.isa.split(','))})(/|$)"

    with tempfile.TemporaryDirectory() as folder:
        rounds = []
        for turn in range(arguments.rounds):
            order = (0, 1) if turn % 2 == 0 else (1, 0)
            measured = {which: rates(programs[which], pattern, arguments.threads, folder) for which in order}
            rounds.append((measured[0], measured[1]))
            print(f"\rround {turn + 1} of {arguments.rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    names = [name for name in rounds[0][0] if all(name in one for both in rounds for one in both)]
    if not names:
        fail("the two programs have no job in common")

    print(f"{'job':<24} {'before':>12} {'after':>12} {'ratio':>8} {f'{100 * CONFIDENCE:g}% interval':>20}")
    tolerance, result = arguments.tolerance / 100, []
    for name in names:
        before, after = ([one[which][name] for one in rounds] for which in (0, 1))
        ratio, low, high = interval([y / x for x, y in zip(before, after)])
        verdict = judge(low, high, tolerance)
        result.append({"job": name, "ratio": ratio, "low": low, "high": high, "verdict": verdict,
                       "before": before, "after": after})
        middle = [sorted(values)[len(values) // 2] for values in (before, after)]
        print(f"{name:<24} {middle[0]:>12.4g} {middle[1]:>12.4g} {ratio:>8.4f} {low:>9.4f} to {high:>7.4f}  {verdict}")
    if arguments.out:
        arguments.out.write_text(json.dumps({"before": str(programs[0]), "after": str(programs[1]),
                                             "tolerance": tolerance, "confidence": CONFIDENCE, "jobs": result},
                                            indent=1) + "\n")
    verdicts = {one["verdict"] for one in result}
    sys.exit(1 if "slower" in verdicts else 3 if "unknown" in verdicts else 0)


if __name__ == "__main__":
    main()
