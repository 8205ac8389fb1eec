#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the engine and its peers in turn on the jobs of docs/performance.md, checks that all agree, and makes the table.

  bash bench/peers/setup.sh      once: what is needed, and everything built
  python3 bench/peers/run.py     [--write] [options]

The engine runs as a fresh process of its command line each time, the peers as warm processes (compiled and warmed up
before). In each round every tool of a job runs once, one after the other; each does as many paths as take it about
--seconds. A tool that is not installed is left out and the table says so. Into -o go peers.json (every figure),
peers.md and peers.svg; --write also makes docs/peers.json, docs/images/peers.svg and the tables of docs/performance.md.

Exit status: 0; 1 when means differ from the engine's by more than chance or a tool failed on the way; 2 for wrong
arguments or when the engine is not built.
"""
import argparse
import datetime
import functools
import json
import math
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import jobs
import report

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Absent(Exception):
    """A tool is not here; the message says why."""


class Failed(Exception):
    """A tool started and did not do its work."""


def environment(threads, isa=None):
    """That of a child: no library starts threads of its own; the engine keeps to `isa`."""
    out = dict(os.environ, OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    out.pop("PATHBOUND_ISA", None)
    if isa == "avx2":
        out["PATHBOUND_ISA"] = isa
    return out


def on_cpus(threads):
    """Called in a child: its threads stay on as many processors, the same ones for every tool."""
    cpus = sorted(os.sched_getaffinity(0))[-threads:]
    return lambda: os.sched_setaffinity(0, cpus)


# ---------------------------------------------------------------------- what runs
class Engine:
    """A fresh process for each run; CPU seconds and memory are the whole process's, start and output included."""

    def __init__(self, options, job, threads=1, isa="best", overrides=()):
        self.job, self.threads, self.isa = job, threads, isa
        self.program = options.build / "pathbound"
        self.overrides = list(job.overrides) + list(overrides)
        self.paths = 1024
        self.version, self.results = "", None

    def run(self, seed, paths=None, steps=None):
        paths = paths or self.paths
        with tempfile.TemporaryDirectory() as folder:
            command = [str(self.program), "run", self.job.experiment, "-o", folder, "--quiet", "--threads",
                       str(self.threads), "--paths", str(paths), "--seed", str(seed)]
            for override in self.overrides + ([f"steps={steps}"] if steps else []):
                command += ["--set", override]
            with tempfile.TemporaryFile() as errors:
                process = subprocess.Popen(command, env=environment(self.threads, self.isa), stderr=errors,
                                           preexec_fn=on_cpus(self.threads))
                _, status, use = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode != 0:
                    errors.seek(0)
                    raise Failed(f"{' '.join(command)}: {errors.read().decode().strip()}")
            self.results = json.loads((pathlib.Path(folder) / "results.json").read_text())
        found = self.results["environment"]
        self.version = f"pathbound {found['version']} ({found['commit']})"
        curve = next(one for one in self.results["curves"] if one["name"] == self.job.curve)
        return {"paths": paths, "seconds": self.results["performance"]["seconds"],
                "cpu_seconds": use.ru_utime + use.ru_stime, "mean": curve["mean"][1:], "stderr": curve["stderr"][1:],
                "bytes": use.ru_maxrss * 1024}

    def calibrate(self, seconds):
        took = self.run(1)["cpu_seconds"] / self.threads
        while took < 0.1 * seconds:
            self.paths *= 4
            took = self.run(1)["cpu_seconds"] / self.threads
        self.paths = max(1024, round(self.paths * seconds / took / 1024) * 1024)

    def stop(self):
        pass


class Peer:
    """A warm process that speaks the protocol of peer.hpp."""

    def __init__(self, command, threads=1):
        self.errors = tempfile.TemporaryFile()
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
                                            env=environment(threads), text=True, preexec_fn=on_cpus(threads))
        except OSError as error:
            raise Absent(f"{command[0]}: {error.strerror}") from error
        hello = self.process.stdout.readline()
        if not hello:
            self.process.wait()
            raise Absent(self.last_words())
        hello = json.loads(hello)
        self.version, self.threads, self.chunks = hello["version"], threads, 1

    def last_words(self):
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit status {self.process.returncode}"

    def run(self, seed):
        self.process.stdin.write(f"{seed} {self.chunks}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            raise Failed(self.last_words())
        return json.loads(answer)

    def calibrate(self, seconds):
        self.run(1)  # compiles
        took = self.run(1)["cpu_seconds"] / self.threads
        while took < 0.1 * seconds:
            self.chunks *= 4
            took = self.run(1)["cpu_seconds"] / self.threads
        self.chunks = max(1, round(self.chunks * seconds / took))

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Floor:
    """One of bench_throughput's floors, from its JSON; a path-step is one word (or one normal)."""

    def __init__(self, options, benchmark, isa):
        self.program = options.build / "bench/bench_throughput"
        self.benchmark, self.isa, self.version, self.seconds = benchmark, isa, "", options.seconds
        if not self.program.exists():
            raise Absent(f"{self.program} is not built")

    def run(self, _seed):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "floor.json"
            command = [str(self.program), f"--benchmark_filter=^{self.benchmark}/{self.isa}(/.*)?$",
                       "--benchmark_repetitions=1", "--benchmark_report_aggregates_only=false",
                       f"--benchmark_min_time={0.4 * self.seconds:g}", f"--benchmark_out={out}",
                       "--benchmark_out_format=json"]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment(1),
                                  preexec_fn=on_cpus(1), check=False)
            found = json.loads(out.read_text() or "{}").get("benchmarks", []) if out.exists() else []
        if done.returncode != 0 or not found:
            raise Failed(f"{' '.join(command)}: {done.stderr.decode().strip() or 'no such benchmark'}")
        one = found[0]
        steps = one["path-steps/s"] * one["real_time"]  # in an iteration, times the unit of time that follows
        return {"paths": steps, "seconds": one["real_time"], "cpu_seconds": one["cpu_time"], "mean": None}

    def calibrate(self, _seconds):
        self.run(1)

    def stop(self):
        pass


# ---------------------------------------------------------------------- the rows
def rows_of(options, group):
    """[(tool, job, isa, threads, path-steps to a path, what starts it)] of one group."""
    built, threads = options.peers, options.threads
    job = jobs.load(group)
    isas = ["best", "avx2"] if options.isa == "avx512" else ["best"]
    out = []

    def engine(tool, name=group, isa="best", overrides=(), threads=threads, steps=None, run=None):
        start = functools.partial(Engine, options, run or jobs.load(name), threads, isa, overrides)
        out.append((tool, name, isa, threads, steps or job.steps, start))

    def python(tool, file, form=""):
        command = [str(options.python), "-W", "ignore", str(HERE / f"peer_{file}.py"), group + form, str(threads)]
        out.append((tool, group, "", threads, job.steps, functools.partial(Peer, command, threads)))

    def program(tool, file, isa="", arguments=(), form=""):
        command = [str(built / file), group + form, str(threads), *arguments]
        out.append((tool, group, isa, threads, job.steps, functools.partial(Peer, command, threads)))

    def onemkl(tool, generator, form=""):
        for isa in isas:
            program(tool, f"peer_onemkl_{isa}", isa, (generator, isa), form)

    direct = (f"curve.{job.curve}.sampling=direct",)
    if group == "j4":
        # The run has the method, the model, and the model again with half the step.
        for isa in isas:
            engine(report.ENGINE, isa=isa, steps=4 * job.steps)
        for isa in isas:
            engine(report.AS_METHOD, isa=isa, run=jobs.load("j1"))
    else:
        for isa in isas:
            engine(report.ENGINE, isa=isa)
    if group in ("j1", "j2", "j3") and options.cpus >= 2 and threads == 1:
        engine(report.ENGINE, threads=2)
    if group in ("j2", "j3", "j3_nu3"):
        for isa in isas:
            engine(report.DIRECT, isa=isa, overrides=direct)
    if group == "j3":
        engine(report.N64, "j3_n64")
        engine(report.N64_DIRECT, "j3_n64", overrides=direct)
    if group == "j1":
        for tool, benchmark in ((report.FLOOR_BITS, "floor_bits"), (report.FLOOR_NORMALS, "floor_normals")):
            for isa in isas:
                name = options.isa if isa == "best" else isa
                start = functools.partial(Floor, options, benchmark, name)
                out.append((tool, "", isa, threads, 1, start))
    if group != "j4":
        onemkl(report.SFMT, "sfmt")
        if group == "j1":
            onemkl(report.PHILOX, "philox")
        if group == "j3":
            onemkl(report.QUANTILE, "sfmt", ":quantile")
        program("C++, std::mt19937_64", "peer_cpp")
        python("NumPy, SFC64", "numpy")
        python("Numba, SFC64", "numba")
        python("PyTorch", "torch")
        python("JAX, threefry", "jax")
        for extra in options.extra if group != "j3_nu3" else []:
            name, _, command = extra.partition("=")
            tool, _, isa = name.partition(":")
            start = functools.partial(Peer, [*shlex.split(command), group, str(threads)], threads)
            out.append((tool, group, isa, threads, job.steps, start))
    else:
        program("QuantLib", "peer_quantlib")
        python(report.DIFFRAX, "diffrax")
        python(report.DIFFRAX_MAPPED, "diffrax", ":vmap")
        python("torchsde", "torchsde")
    return out


def reference(options, name):
    """One large run of the engine that samples every worker, with all threads."""
    job = jobs.load("j1" if name == "j4" else name)  # the recursion of J4 is that of J1
    engine = Engine(options, job, options.cpus, overrides=(f"curve.{job.curve}.sampling=direct",))
    engine.calibrate(options.reference_seconds)
    run = engine.run(4242)
    return {"paths": run["paths"], "mean": [rounded(one) for one in run["mean"]],
            "deviation": [rounded(one * math.sqrt(run["paths"])) for one in run["stderr"]]}


def rounded(value):
    """To 8 significant digits, far below any error here: the stored figures are those that the page is made of."""
    return float(f"{value:.8g}") if isinstance(value, float) else value


def measure(options, group, say):
    """The rows of a group, as report.py wants them."""
    rows, running = [], []
    for tool, name, isa, threads, steps, start in rows_of(options, group):
        if not re.search(options.tools, tool):
            continue
        row = {"group": group, "job": name, "tool": tool, "isa": isa, "threads": threads, "steps": steps, "version": "",
               "skipped": None, "failed": False, "rounds": [], "mean": None}
        rows.append(row)
        say(f"{group}: starting {tool} {isa}")
        try:
            runner = start()
            running.append((row, runner))
            runner.calibrate(options.seconds)
            row["version"] = runner.version
        except Absent as reason:
            row["skipped"] = str(reason)
        except Failed as reason:
            row["skipped"], row["failed"] = str(reason), True
        if row["skipped"]:
            say(f"{group}: {tool} left out: {row['skipped']}")
    sums = {}
    for index in range(options.rounds):
        say(f"{group}: round {index + 1} of {options.rounds}")
        for number, (row, runner) in enumerate(running):
            if row["skipped"]:
                continue
            try:
                run = runner.run(10 + index)
            except Failed as reason:
                row["skipped"], row["failed"], row["rounds"] = str(reason), True, []
                continue
            row["rounds"].append({key: rounded(run[key]) for key in ("paths", "seconds", "cpu_seconds")})
            if run["mean"]:
                before = sums.get(number, [0.0] * len(run["mean"]))
                sums[number] = [a + run["paths"] * b for a, b in zip(before, run["mean"])]
    for number, (row, runner) in enumerate(running):
        runner.stop()
        if row["rounds"] and number in sums:
            paths = sum(one["paths"] for one in row["rounds"])
            row["mean"] = [rounded(one / paths) for one in sums[number]]
    return rows


def memory(options):
    """The largest resident set of J1: it must depend neither on the paths nor on the steps."""
    out = []
    for paths, steps in ((10**6, 1000), (10**5, 1000), (10**5, 10000)):
        run = Engine(options, jobs.load("j1"), options.cpus).run(1, paths, steps)
        out.append({"experiment": "performance_j1", "paths": paths, "steps": steps, "bytes": run["bytes"]})
    return out


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "an unnamed processor"


def json_text(value, depth=0):
    """One line per list of numbers and per dictionary of a round, else one per entry."""
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and any(isinstance(one, (dict, list)) for one in value.values()):
        lines = [f"{pad}{json.dumps(key)}: {json_text(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        return "[\n" + ",\n".join(pad + json_text(one, depth + 1) for one in value) + "\n" + "  " * depth + "]"
    return json.dumps(value)


def page_of(results, text):
    """docs/performance.md with the tables of these results."""
    text = report.write_between(text, "peers", report.table(results))
    return report.write_between(text, "goals", report.goal_table(results))


def write(results, folder, docs):
    """peers.json, peers.md and peers.svg into `folder`; with docs the figures, tables and picture of the page, too."""
    tables, svg = "\n".join(report.table(results) + report.goal_table(results)), report.picture(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.json").write_text(json_text(results) + "\n")
    (folder / "peers.md").write_text(tables)
    (folder / "peers.svg").write_text(svg)
    if docs:
        page = docs / "performance.md"
        page.write_text(page_of(results, page.read_text()))
        (docs / "peers.json").write_text(json_text(results) + "\n")
        (docs / "images/peers.svg").write_text(svg)
    print(tables)


def main(arguments):
    parser = argparse.ArgumentParser(prog="run.py", description="the engine beside its peers, interleaved")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="about what each tool takes in a round (default 1)")
    parser.add_argument("--reference-seconds", type=float, default=10.0, help="of the engine's large run (default 10)")
    parser.add_argument("--threads", type=int, default=1, help="of every tool (default 1)")
    parser.add_argument("--groups", default=",".join(report.TITLES), help="of jobs (default: all)")
    parser.add_argument("--tools", default="", metavar="REGEX", help="only those of matching names (default: all)")
    parser.add_argument("--venv", type=pathlib.Path,
                        help="Python environment (default: $PATHBOUND_PEERS_VENV or build/peers/venv)")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/cpu", help="of the engine")
    parser.add_argument("--peers", type=pathlib.Path, default=ROOT / "build/peers", help="where the C++ peers are")
    parser.add_argument("--extra", action="append", default=[], metavar="NAME[:ISA]=COMMAND",
                        help="another peer that speaks the protocol of peer.hpp, for J1 to J3")
    parser.add_argument("-o", "--out", type=pathlib.Path, default=pathlib.Path("results/peers"), help="folder")
    parser.add_argument("--from", dest="stored", type=pathlib.Path, help="a peers.json: only its tables and picture")
    parser.add_argument("--write", action="store_true", help="put figures, tables and picture into docs/")
    options = parser.parse_args(arguments)
    if options.stored:
        results = json.loads(options.stored.read_text())
    else:
        if not (options.build / "pathbound").exists():
            print(f"run.py: {options.build}/pathbound is not built (bash bench/peers/setup.sh)", file=sys.stderr)
            return 2
        groups = options.groups.split(",")
        unknown = [group for group in groups if group not in report.TITLES]
        if unknown or options.rounds < 1 or options.threads < 1 or options.seconds <= 0:
            parser.error(f"unknown group {unknown[0]}" if unknown else "rounds, threads and seconds must be positive")
        venv = options.venv or pathlib.Path(os.environ.get("PATHBOUND_PEERS_VENV", ROOT / "build/peers/venv"))
        options.python = venv / "bin/python"
        options.cpus = len(os.sched_getaffinity(0))
        engine = Engine(options, jobs.load("j1"))
        engine.run(1)
        found = engine.results["environment"]
        options.isa = found["isa"]

        def say(text):
            print(f"{datetime.datetime.now():%H:%M:%S} {text}", file=sys.stderr, flush=True)

        rows = [row for group in groups for row in measure(options, group, say)]
        say("references")
        names = dict.fromkeys(row["job"] for row in rows if row["mean"])
        references = {name: reference(options, name) for name in names}
        say("memory")
        results = {
            "environment": {"cpu": processor(), "cores": options.cpus, "date": f"{datetime.date.today()}",
                            "isa": found["isa"], "version": found["version"], "commit": found["commit"]},
            "options": {"rounds": options.rounds, "seconds": options.seconds, "threads": options.threads},
            "rows": rows, "references": references, "memory": memory(options) if "j1" in groups else []}
    write(results, options.out, ROOT / "docs" if options.write else None)
    wrong = [results["rows"][one["row"]] for one in report.agreement(results)[0] if not one["agrees"]]
    for row in wrong:
        print(f"run.py: {row['group']}, {row['tool']}: its means differ from the engine's", file=sys.stderr)
    failed = [row for row in results["rows"] if row["failed"]]
    for row in failed:
        print(f"run.py: {row['group']}, {row['tool']} failed: {row['skipped']}", file=sys.stderr)
    return 1 if wrong or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
