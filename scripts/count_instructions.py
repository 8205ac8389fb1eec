#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions a path-step of the jobs of bench/jobs.json on the CPU, counted by valgrind's callgrind.

  count_instructions.py [--check | --write] [--program build/cpu/pathbound] [JOB...]

Each job is run twice with different numbers of paths, on one thread, with AVX2 (valgrind knows no AVX-512): the
difference, over the difference in path-steps, is free of start-up, and does not depend on the machine or its load. It
depends on the compiler. The figures are printed;
  --write   stores them in bench/cpu_instructions.json, with the compiler
  --check   holds them against that file: at most 2% above the stored. With another compiler than the stored figures'
            there is nothing to hold them against: they are printed beside the stored ones, and nothing fails.
Exit status: 0; 1 when a check fails or something does not run; 77 when valgrind, the program or AVX2 is missing.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
JOBS = ROOT / "bench/jobs.json"
STORED = ROOT / "bench/cpu_instructions.json"
MOST_GROWTH = 1.02


def fail(message):
    sys.exit(f"count_instructions: {message}")


def skip(why):
    print(f"count_instructions: skipped: {why}", file=sys.stderr)
    sys.exit(77)


def compiler_of(program):
    """The compiler of the build that the program lies in, as CMake knows it."""
    for file in program.parent.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"):
        text = file.read_text()
        found = [re.search(rf'set\(CMAKE_CXX_COMPILER_{key} "(.*)"\)', text) for key in ("ID", "VERSION")]
        if all(found):
            return " ".join(one.group(1) for one in found)
    fail(f"no compiler found in {program.parent}/CMakeFiles: --program must name one in a build folder")


def instructions(program, job, paths, folder):
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.out", program, "run"]
    command += [job["experiment"], "--backend", "cpu", "--threads", "1", "--quiet", "--paths", str(paths)]
    command += ["-o", f"{folder}/results"]
    for setting in job["set"]:
        command += ["--set", setting]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PATHBOUND_")}
    done = subprocess.run(command, env=environment | {"PATHBOUND_ISA": "avx2"}, capture_output=True, text=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode == 2 and "PATHBOUND_ISA" in done.stderr:
        skip("this machine, or this valgrind, has no AVX2")
    if done.returncode != 0 or not found:
        fail(f"{job['name']} under valgrind: exit status {done.returncode}\n{done.stdout}{done.stderr}"[-4000:])
    return int(found.group(1))


def measure(program, jobs):
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for job in jobs:
            with open(ROOT / "bench/experiments" / f"{job['experiment']}.toml", "rb") as file:
                steps = tomllib.load(file)["steps"]
            few, many = job["counted_paths"]
            more = instructions(program, job, many, folder) - instructions(program, job, few, folder)
            figures[job["name"]] = round(more / ((many - few) * steps), 3)
            print(f"{job['name']:<16} {figures[job['name']]:>12,.2f} instructions a path-step", flush=True)
    return figures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="JOB")
    parser.add_argument("--program", type=pathlib.Path, default=ROOT / "build/cpu/pathbound")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true")
    action.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    jobs = json.loads(JOBS.read_text())["jobs"]
    names = [job["name"] for job in jobs]
    for name in arguments.jobs:
        if name not in names:
            parser.error(f"{name} is none of {', '.join(names)}")
    jobs = [job for job in jobs if not arguments.jobs or job["name"] in arguments.jobs]
    if not shutil.which("valgrind"):
        skip("no valgrind (scripts/install-deps.sh)")
    if not arguments.program.exists():
        skip(f"no {arguments.program} (cmake --build --preset cpu --target pathbound_cli)")

    program = arguments.program.resolve()
    compiler = compiler_of(program)
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"compiler": compiler, "jobs": {}}
    figures = measure(program, jobs)
    if arguments.write:
        kept = stored["jobs"] if stored["compiler"] == compiler else {}
        kept = {name: (kept | figures)[name] for name in names if name in kept | figures}
        STORED.write_text(json.dumps({"compiler": compiler, "isa": "avx2", "jobs": kept}, indent=1) + "\n")
    if not arguments.check:
        return
    failures = 0
    same_compiler = stored["compiler"] == compiler
    if not same_compiler:
        print(f"count_instructions: built with {compiler}, the stored figures with {stored['compiler']}: not held "
              "against them", file=sys.stderr)
    for name, now in figures.items():
        before = stored["jobs"].get(name)
        if before is None:
            print(f"count_instructions: {name}: not among the stored figures", file=sys.stderr)
            failures += same_compiler
            continue
        if abs(now / before - 1) > MOST_GROWTH - 1:
            worse = now > before and same_compiler
            failures += worse
            hint = "" if worse or not same_compiler else " (no failure; --write would store it)"
            print(f"count_instructions: {name}: {before:,.2f} -> {now:,.2f} instructions a path-step "
                  f"({100 * (now / before - 1):+.1f}%){hint}", file=sys.stderr)
    if same_compiler:
        print(f"count_instructions: {f'{failures} failures' if failures else 'as it should be'}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
