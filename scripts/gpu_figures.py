#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Figures of the cuda backend that need no device: registers, and instructions.

  gpu_figures.py [--check | --write] [--arch sm_80,...] [registers] [profile] [machine]

registers   what ptxas makes of each kernel for sm_75, sm_80, sm_90, sm_120 (--arch: only these): registers, spills,
            stack, shared memory, and the warps that fit on a multiprocessor. Needs nvcc.
profile     what the jobs of bench_throughput execute, counted by the emulator (scripts/emulated.sh) in the PTX of
            build/ptx/pathbound: instructions a path-step, active lanes, bytes per written sector, bank conflicts.
            Needs that program and the emulator's source.
machine     machine instructions a path-step of the same jobs for sm_80, sm_89, sm_90, by the unit that runs them, from
            the disassembly of their step kernels, and the model of docs/performance.md made of them: what limits each
            job on each device, and its path-steps/s there. With --check only J1's kernel, for sm_80 and sm_90. Needs
            nvcc and nvdisasm (scripts/machine_code.py), and the stored profile.
All when none is named. The figures are printed;
  --write   stores them: bench/device_figures.json, the tables of docs/gpu.md and docs/performance.md between their
            markers, and (machine) bench/device_model.json, which bench_throughput reads
  --check   holds them against bench/device_figures.json: no spills, no stack; at least 31 active lanes, or as many as
            stored; instructions at most 3% above the stored; whole sectors written at records; no bank conflicts in the
            statistics; at most 48 machine instructions a path-step in J1's loop
Exit status: 0; 1 when a check fails or something does not run; 77 when what a part needs is missing and no part ran.
"""
import argparse
import concurrent.futures
import functools
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib

import machine_code

ROOT = pathlib.Path(__file__).resolve().parent.parent
STORED = ROOT / "bench/device_figures.json"
MODEL = ROOT / "bench/device_model.json"
# Of kernels whose launches ask for the same always (kernels/cuda/statistics.cuh: two warps, 32 x 33 doubles).
DYNAMIC_SHARED = {f"statistics_kernel<{types}>": 2 * 32 * 33 * 8
                  for types in ("float, float", "float, double", "double, double")}
PAGE = ROOT / "docs/gpu.md"
PERFORMANCE = ROOT / "docs/performance.md"
PROGRAM = ROOT / "build/ptx/pathbound"

LEAST_LANES = 31.0
MOST_GROWTH = 1.03
FULL_SECTOR = 32.0  # bytes


class Missing(Exception):
    """A part cannot run here."""


def fail(message):
    sys.exit(f"gpu_figures: {message}")


def first_number(path, pattern):
    """The numbers of the first match of `pattern` in a source file."""
    found = re.search(pattern, (ROOT / path).read_text())
    if not found:
        fail(f"{path} has no {pattern!r} any more")
    return [int(group) for group in found.groups()]


# ---------------------------------------------------------------------------------------------------- registers
# Of a multiprocessor, from the CUDA programming guide ("Technical Specifications per Compute Capability"): threads,
# blocks, KB of shared memory. All have 65536 registers, given out to each of four schedulers' warps 256 at a time.
LIMITS = {
    "sm_75": (1024, 16, 64),
    "sm_80": (2048, 32, 164),
    "sm_86": (1536, 16, 100),
    "sm_89": (1536, 24, 100),
    "sm_90": (2048, 32, 228),
    "sm_100": (2048, 32, 228),
    "sm_120": (1536, 24, 100),
}
ARCHITECTURES = ["sm_75", "sm_80", "sm_90", "sm_120"]


def active_warps(arch, threads, registers, shared):
    """Warps of a kernel that a multiprocessor holds at once, and at most."""
    most_threads, most_blocks, kilobytes = LIMITS[arch]
    warps = (threads + 31) // 32
    registers_of_warp = (registers + 7) // 8 * 8 * 32
    blocks = min(most_blocks, most_threads // (32 * warps), 65536 // 4 // registers_of_warp * 4 // warps)
    if arch != "sm_75" or shared > 0:
        reserved = 0 if arch == "sm_75" else 1024  # a block, for the system
        shared = (shared + reserved + 255) // 256 * 256
        blocks = min(blocks, kilobytes * 1024 // shared)
    return blocks * warps, most_threads // 32


def find_nvcc():
    for candidate in ["nvcc"] + [
        os.path.join(os.environ.get(name) or "/usr/local/cuda", "bin/nvcc") for name in ("CUDA_PATH", "CUDA_HOME")
    ]:
        found = shutil.which(candidate)
        if found:
            return found
    raise Missing("no nvcc on PATH, in CUDA_PATH, in CUDA_HOME or in /usr/local/cuda")


def short(name):
    """A demangled name without namespaces and arguments."""
    name = name.replace("(anonymous namespace)::", "")
    name = re.sub(r"\b(?:\w+::)+", "", name)
    return re.sub(r"^void ", "", name)


def kernel_names():
    """Template arguments -> name in variants.def, and threads of a block; in the order of that file."""
    registers, other = first_number("kernels/cuda/segment.cuh", r"layout == Layout::registers \? (\d+) : (\d+)")
    found = re.search(r"enum class Layout \{ ([\w, ]+) \}", (ROOT / "kernels/cuda/segment.cuh").read_text())
    layouts = found.group(1).split(", ")
    found = re.search(r"enum class LawFamily : int \{ ([\w, ]+) \}", (ROOT / "kernels/cuda/law_family.cuh").read_text())
    families = found.group(1).split(", ")
    names = {}
    for line in (ROOT / "kernels/cuda/variants.def").read_text().splitlines():
        words = re.fullmatch(r"(SCALAR|TILE|GENERAL|TOGETHER|MODEL)\((.*)\)", line.strip())
        if not words:
            continue
        kind, (name, real, *rest) = words.group(1), words.group(2).split(", ")
        if kind in ("MODEL", "GENERAL", "TOGETHER"):
            coordinates, layout = rest
            arguments = f"{real}, {coordinates}, (Layout){layouts.index(layout)}"
            names[f"{kind.lower()}_kernel<{arguments}>"] = (name, registers if layout == "registers" else other)
        elif kind == "SCALAR":
            names[f"scalar_kernel<{real}, {rest[0]}, (LawFamily){families.index(rest[2])}>"] = (name, registers)
        else:
            coordinates, laws, layout = rest
            arguments = f"{real}, {coordinates}, (LawFamily){families.index(laws)}, (Layout){layouts.index(layout)}"
            names[f"tile_kernel<{arguments}>"] = (name, registers if layout == "registers" else other)
    return names


def name_of(kernel, names):
    """Name of a kernel and threads of its block; None when it is not ours."""
    if "::static_kernel<" in kernel and "pathbound::" in kernel:  # CUB's loop around a function object of ours
        return re.search(r"pathbound::cuda::(\w+(?:<(?:\(bool\))?\w+>)?)", kernel).group(1), 256
    if not re.match(r"(void )?pathbound::", kernel):
        return None
    plain = re.match(r"\w+(?:<.*?>(?=\())?", short(kernel)).group()
    if plain in names:
        return names[plain]
    if plain.startswith("statistics_kernel"):
        return plain, first_number("kernels/cuda/statistics.cuh", r"statistics_threads = (\d+)")[0]
    if plain.startswith(("curand_words", "function_values")):
        return plain, first_number("kernels/cuda/answers.cu", r"threads = (\d+)")[0]
    fail(f"kernel {plain} is neither in variants.def nor known to scripts/gpu_figures.py")


def compile_one(nvcc, source, arch, folder, form="cubin"):
    """What ptxas says about each entry function of a source; the flags are those of cmake/cuda.cmake."""
    command = [nvcc, f"-{form}", f"-arch={arch}", "-std=c++20", "-O3", "-DNDEBUG", "-fmad=false", f"-I{ROOT}"]
    command += ["-Xcompiler=-ffp-contract=off", "-Xptxas=-v", "-o", f"{folder}/{source.stem}.{arch}.{form}", source]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f"{source.name} does not compile for {arch}:\n{done.stderr[-4000:]}")
    return done.stderr


def parse_ptxas(text, names):
    text = subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout
    kernels = {}
    for entry in text.split("Compiling entry function '")[1:]:
        named = name_of(entry[: entry.index("' for '")], names)
        if named is None:
            continue
        name, threads = named

        def total(pattern):
            return sum(int(n) for n in re.findall(pattern, entry))

        # "Function properties" are those of the kernel and of what it calls.
        figures = {
            "threads": threads,
            "registers": total(r"Used (\d+) registers"),
            "spill_bytes": total(r"(\d+) bytes spill stores") + total(r"(\d+) bytes spill loads"),
            "stack_bytes": total(r"(\d+) bytes stack frame"),
            "shared_bytes": total(r"(\d+) bytes smem"),
        }
        before = kernels.setdefault(name, figures)  # CUB: several instantiations
        for key, value in figures.items():
            before[key] = max(before[key], value)
    return kernels


def measure_registers(architectures):
    nvcc = find_nvcc()
    if not shutil.which("c++filt"):
        raise Missing("no c++filt (binutils)")
    release = re.search(r"release ([\d.]+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True).stdout.split()
    for arch in architectures:
        if arch not in LIMITS or arch not in known:
            fail(f"--arch {arch}: not known to {'nvcc' if arch in LIMITS else 'scripts/gpu_figures.py'}")
    names = kernel_names()
    result = {}
    sources = sorted((ROOT / "kernels/cuda").glob("*.cu"), key=lambda path: "double" not in path.name)  # longest first
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        pairs = [(arch, source) for arch in architectures for source in sources]
        jobs = [(arch, pool.submit(compile_one, nvcc, source, arch, folder)) for arch, source in pairs]
        for arch, job in jobs:
            result.setdefault(arch, {}).update(parse_ptxas(job.result(), names))
    for arch, kernels in result.items():
        missing = [name for name, _ in names.values() if name not in kernels]
        if missing:
            fail(f"{arch}: not compiled, though in variants.def: {', '.join(missing)}")
        order = [name for name, _ in names.values()]
        order += sorted(set(kernels) - set(order))
        result[arch] = {name: kernels[name] for name in order}
        for name, figures in kernels.items():
            shared = figures["shared_bytes"] + DYNAMIC_SHARED.get(name, 0)
            warps, most = active_warps(arch, figures["threads"], figures["registers"], shared)
            figures["warps"], figures["most_warps"] = warps, most
    return {"toolkit": release.group(1) if release else "?", "architectures": result}


def table_of_registers(figures):
    architectures = figures["architectures"]
    order = sorted(architectures, key=lambda arch: int(arch[3:]))
    lines = [
        f"CUDA {figures['toolkit']}: registers a thread, and active of the warps that a multiprocessor can hold.",
        "",
        "| kernel | threads | shared memory | " + " | ".join(order) + " |",
        "|---|---|---|" + "---|" * len(order),
    ]
    bad = []
    for name, first in architectures[order[0]].items():
        cells = []
        for arch in order:
            one = architectures[arch].get(name)
            cells.append(f"{one['registers']}: {one['warps']}/{one['most_warps']}" if one else "-")
            if one and one["spill_bytes"] + one["stack_bytes"] > 0:
                spills, stack = one["spill_bytes"], one["stack_bytes"]
                bad.append(f"**`{name}` for {arch}: {spills} bytes of spills, stack of {stack} bytes**")
        lines.append(f"| `{name}` | {first['threads']} | {first['shared_bytes']} | " + " | ".join(cells) + " |")
    lines += ["", "The statistics kernels take dynamic shared memory besides, 16,896 bytes a block (8,448 for one coordinate in",
              "float), which is counted here. That of `memory` and `dense` kernels, 1 KB a level of",
              "their trees, depends on the problem and is not."]
    lines += [""] + (bad or ["No kernel spills or has a stack frame."])
    return lines


def check_registers(figures, stored):
    failures, hints = [], []
    before = stored.get("registers", {"architectures": {}})
    for arch, kernels in figures["architectures"].items():
        for name, one in kernels.items():
            if one["spill_bytes"] > 0:
                failures.append(f"{arch} {name}: {one['spill_bytes']} bytes of spills")
            if one["stack_bytes"] > 0:
                failures.append(f"{arch} {name}: a stack frame of {one['stack_bytes']} bytes")
            old = before["architectures"].get(arch, {}).get(name)
            if old is None:
                hints.append(f"{arch} {name}: not among the stored figures")
            elif old["warps"] != one["warps"]:
                hints.append(
                    f"{arch} {name}: {one['registers']} registers, {one['warps']} active warps; "
                    f"stored: {old['registers']} and {old['warps']} (CUDA {before['toolkit']})"
                )
    return failures, hints


# ------------------------------------------------------------------------------------------------------ profile
# The jobs of bench_throughput with fewer paths: name, experiment, its --set, paths, and the lanes a path takes with as
# many paths as bench_throughput has (the choice depends on their number).
JOBS = [
    (job["name"], job["experiment"], job["set"], job["emulated_paths"], job["lanes"])
    for job in json.loads((ROOT / "bench/jobs.json").read_text())["jobs"]
]
PROBE_PATHS, PROBE_STEPS = 256, 40


def profile(experiment, settings, paths, lanes, folder):
    """Runs an experiment under the emulator: its counters by kernel."""
    file = pathlib.Path(folder) / "profile.json"
    file.unlink(missing_ok=True)
    settings_of_caller = ("PTXEMU_", "PATHBOUND_TILE", "PATHBOUND_LAUNCH_SECONDS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(settings_of_caller)}
    environment |= {"PTXEMU_PROFILE": str(file), "PTXEMU_ARCH": "80", "PATHBOUND_LAUNCH_SECONDS": "1000"}
    if lanes > 1:
        environment["PATHBOUND_TILE"] = str(lanes)
    command = ["bash", ROOT / "scripts/emulated.sh", PROGRAM, "run", experiment, "--backend", "cuda", "--quiet"]
    command += ["--paths", str(paths), "-o", f"{folder}/results"]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode == 77:
        raise Missing(done.stderr.strip())
    if done.returncode != 0 or not file.exists():
        fail(f"{experiment} under the emulator: exit status {done.returncode}\n{done.stdout}{done.stderr}"[-4000:])
    return json.loads(file.read_text())["kernels"]


def of_part(kernels, words):
    return [kernel for kernel in kernels if any(word in kernel["kernel"] for word in words)]


def step_kernel(kernels, what):
    found = of_part(kernels, [f"pathbound::cuda::{one}_kernel<" for one in ("scalar", "tile", "together")])
    if len(found) != 1:
        fail(f"{what}: {len(found)} step kernels ran")
    if found[0]["launches"] != 1:  # how many would depend on the machine's speed, and the counts on how many
        fail(f"{what}: {found[0]['launches']} launches instead of one, in spite of PATHBOUND_LAUNCH_SECONDS")
    return found[0]


def write_probe(experiment, folder):
    """The experiment with an objective whose coefficients are not read from memory: x^4/4."""
    text = (ROOT / "bench/experiments" / f"{experiment}.toml").read_text()
    text = re.sub(r"^spectrum = .*\n", "", text.replace('kind = "quadratic"', 'kind = "quartic"'), flags=re.M)
    path = pathlib.Path(folder) / f"{experiment}.toml"
    path.write_text(text)
    return path


def bytes_per_written_sector(experiment, settings, lanes, folder):
    """Of the step kernel's writes at records: 32 when it writes whole sectors.

    The emulator counts reads and writes together. Two runs that differ only in their number of records have the same
    reads but for those of the record steps, which are the same word for all lanes: one sector each.
    """
    probe = write_probe(experiment, folder)
    few, many = (
        step_kernel(
            profile(probe, settings + [f"steps={PROBE_STEPS}", f"checkpoints={n}"], PROBE_PATHS, lanes, folder), "probe"
        )
        for n in (4, 20)
    )

    def more(*keys):
        values = []
        for kernel in (few, many):
            for key in keys:
                kernel = kernel.get(key, {})
            values.append(kernel or 0)
        return values[1] - values[0]

    sectors = more("global", "sectors") - more("by_class", "load_global", "warp")
    written = more("global", "bytes") - 8 * more("by_class", "load_global", "lane")
    if more("by_class", "store_global", "warp") <= 0 or sectors <= 0:
        fail(f"probe of {experiment}: more records do not write more")
    return written / sectors


def bank_conflicts(statistics, wide):
    """Passes of the statistics kernel through shared memory beyond the least, which is two for 32 lanes with 8 bytes
    each. `wide`: the share of its requests that have 8 bytes: "none", "all", or "norm": a third of what is stored
    (S and the largest component have 4, the norm 8) and as many loads, each norm being read once."""
    requests = sum(kernel["shared"]["requests"] for kernel in statistics)
    passes = sum(kernel["shared"]["passes"] for kernel in statistics)
    stores = sum(kernel["by_class"]["store_shared"]["warp"] for kernel in statistics)
    return passes - requests - {"none": 0, "all": requests, "norm": 2 * stores // 3}[wide]


def measure_profile():
    names = kernel_names()
    if not (ROOT / "scripts/emulated.sh").exists():
        raise Missing("no scripts/emulated.sh")
    source = pathlib.Path(os.environ.get("PATHBOUND_EMULATOR_SOURCE") or ROOT.parent / "shared/ptxemu")
    if not source.is_dir():
        raise Missing(f"no emulator in {source} (PATHBOUND_EMULATOR_SOURCE)")
    if not PROGRAM.exists():
        fail("no build/ptx/pathbound: cmake --preset ptx && cmake --build --preset ptx --target pathbound_cli")
    jobs, sectors = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name, experiment, settings, paths, lanes in JOBS:
            path = ROOT / "bench/experiments" / f"{experiment}.toml"
            with open(path, "rb") as file:
                experiment_data = tomllib.load(file)
            path_steps = paths * experiment_data["steps"]
            kernels = profile(path, settings, paths, lanes, folder)
            step = step_kernel(kernels, name)
            kernel = name_of(step["kernel"], names)[0]
            if kernel not in sectors:
                sectors[kernel] = bytes_per_written_sector(experiment, settings, lanes, folder)
            statistics = of_part(kernels, ["pathbound::cuda::statistics_kernel<"])
            merges = of_part(kernels, ["pathbound::cuda::MergeLevel"])
            double = "precision=double" in settings
            wide = "all" if double else "norm" if experiment_data["objective"].get("dim", 1) > 1 else "none"

            def instructions(some):
                return round(sum(kernel["lane_instructions"] for kernel in some) / path_steps, 3)

            def by_class(some):
                classes = {}
                for one in some:
                    for key, counts in one["by_class"].items():
                        classes[key] = classes.get(key, 0) + counts["lane"] / path_steps
                return {key: round(value, 4) for key, value in classes.items() if value > 0}

            jobs[name] = {
                "kernel": kernel,
                "lanes": lanes,
                "paths": paths,
                "steps": experiment_data["steps"],
                "step_instructions": instructions([step]),
                "step_moves": round(step["by_class"].get("move", {}).get("lane", 0) / path_steps, 3),
                "statistics_instructions": instructions(statistics),
                "merge_instructions": instructions(merges),
                "all_instructions": instructions(kernels),
                "active_lanes": step["average_active_lanes"],
                "bytes_per_written_sector": round(sectors[kernel], 3),
                "statistics_bank_conflicts": bank_conflicts(statistics, wide),
                "classes": {"step": by_class([step]), "statistics": by_class(statistics), "merges": by_class(merges)},
            }
    return jobs


def number(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def table_of_profile(jobs):
    lines = [
        "Instructions are those of a lane, a path-step; moves are part of the step kernel's. Sectors: bytes per sector "
        "of 32 that",
        "the step kernel writes at a record.",
        "",
        "| job | kernel | lanes a path | step kernel | moves | statistics | merges | active lanes | sectors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, job in jobs.items():
        cells = [name, f"`{job['kernel']}`", str(job["lanes"])]
        cells += [number(job["step_instructions"]), number(job["step_moves"]), number(job["statistics_instructions"])]
        cells += [number(job["merge_instructions"]), f"{job['active_lanes']:.2f}"]
        cells += [f"{job['bytes_per_written_sector']:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    conflicts = sum(job["statistics_bank_conflicts"] for job in jobs.values())
    lines += ["", f"Bank conflicts of the statistics kernel: {conflicts or 'none'}."]
    return lines


def check_profile(jobs, stored):
    failures, hints = [], []
    before = stored.get("profile", {})
    for name, job in jobs.items():
        kernel, lanes, written = job["kernel"], job["active_lanes"], job["bytes_per_written_sector"]
        # Where lanes may part (looking up what few of them need), as many as there were.
        least = min(LEAST_LANES, before.get(name, {}).get("active_lanes", LEAST_LANES) - 0.2)
        if lanes < least:
            failures.append(f"{name}: {lanes:.2f} active lanes in {kernel} (least: {least:g})")
        if written < FULL_SECTOR - 0.01:
            failures.append(f"{name}: {kernel} writes {written:.2f} bytes a sector at records, not {FULL_SECTOR:g}")
        if job["statistics_bank_conflicts"] > 0:
            failures.append(f"{name}: {job['statistics_bank_conflicts']} bank conflicts in the statistics kernel")
        old = before.get(name)
        if old is None:
            failures.append(f"{name}: not among the stored figures")
            continue
        if old["kernel"] != job["kernel"]:
            failures.append(f"{name}: runs {job['kernel']}, stored is {old['kernel']}")
        for key in ("step_instructions", "statistics_instructions", "merge_instructions"):
            growth = job[key] / old[key] if old[key] > 0 else 1.0
            text = f"{name}: {key.replace('_', ' ')} a path-step {number(old[key])} -> {number(job[key])}"
            text += f" ({100 * (growth - 1):+.1f}%)"
            if growth > MOST_GROWTH:
                failures.append(text)
            elif growth < 2 - MOST_GROWTH:
                hints.append(text)
    return failures, hints


# ------------------------------------------------------------------------------------------------------ machine
MOST_INSTRUCTIONS = 48.0  # a path-step of J1, in its loop
MACHINE_ARCHITECTURES = ["sm_80", "sm_89", "sm_90"]
# Jobs whose kernel has one straight loop over blocks of random words: steps a turn.
STRAIGHT = {"J1": 4}

# Results a clock and multiprocessor: the table "Throughput of Native Arithmetic Instructions" of the CUDA C++
# Programming Guide; "issue" is one instruction a clock for each of four schedulers. What shares a unit adds up: fp32 and
# integer multiplication in "fma", which are 16 lanes a scheduler twice (once in 8.0), the second without integers.
# Assumptions beyond the table: a 64-bit product counts twice; loads and stores as shuffles.
RATES = {
    "sm_80": {"issue": 128, "fma": 64, "multiply": 64, "alu": 64, "special": 16, "fp64": 32, "memory": 32},
    "sm_89": {"issue": 128, "fma": 128, "multiply": 64, "alu": 64, "special": 16, "fp64": 2, "memory": 32},
    "sm_90": {"issue": 128, "fma": 128, "multiply": 64, "alu": 64, "special": 16, "fp64": 64, "memory": 32},
}
UNITS = {
    "fma": {"fp32": 1, "imad": 1, "wide": 2},
    "multiply": {"imad": 1, "wide": 2},
    "alu": {"alu": 1},
    "special": {"special": 1},
    "fp64": {"fp64": 1},
    "memory": {"memory": 1, "shuffle": 1},
}
UNIT_TEXT = {
    "issue": "instruction issue",
    "fma": "fp32 and integer multiplication",
    "multiply": "integer multiplication",
    "alu": "integer and logic",
    "special": "special functions and conversions",
    "fp64": "fp64",
    "memory": "loads, stores, shuffles",
}
# Name, architecture, multiprocessors, GHz (the boost clock of the data sheet).
DEVICES = [("A100 SXM", "sm_80", 108, 1.41), ("H100 SXM", "sm_90", 132, 1.98), ("RTX 4090", "sm_89", 128, 2.52)]

# The emulator's classes as kinds of machine instructions, for the kernels that are not disassembled. Moves vanish.
CLASS_KINDS = {
    "fp32_add": "fp32", "fp32_mul": "fp32", "fp32_fma": "fp32", "fp32_other": "alu", "fp64_add": "fp64",
    "fp64_mul": "fp64", "fp64_fma": "fp64", "fp64_other": "fp64", "sfu": "special", "int": "alu", "int_mul": "imad",
    "convert": "special", "predicate": "alu", "load_global": "memory", "store_global": "memory", "load_shared": "memory",
    "store_shared": "memory", "load_local": "memory", "store_local": "memory", "atomic": "memory", "shuffle": "shuffle",
    "load_generic": "memory", "store_generic": "memory", "branch": "control", "barrier": "control", "vote": "control",
    "call": "control", "fence": "control", "other": "control",
}


def clocks_of(kinds, arch):
    """Clocks of a multiprocessor that instructions take at least, by unit."""
    rates = RATES[arch]
    clocks = {"issue": sum(kinds.values()) / rates["issue"]}
    for unit, weights in UNITS.items():
        clocks[unit] = sum(weight * kinds.get(kind, 0) for kind, weight in weights.items()) / rates[unit]
    return clocks


def kernel_source(name):
    """A source that makes one kernel of variants.def."""
    for line in (ROOT / "kernels/cuda/variants.def").read_text().splitlines():
        words = re.fullmatch(rf"(SCALAR|TILE|TOGETHER)\({name}, (\w+), (.*)\)", line.strip())
        if words:
            kind, real, rest = words.groups()
            if kind == "SCALAR":
                objective, _, laws = rest.split(", ")
                header, kernel = "scalar", f"scalar_kernel<{real}, {objective}, LawFamily::{laws}>"
            elif kind == "TOGETHER":
                coordinates, layout = rest.split(", ")
                header, kernel = "tile", f"together_kernel<{real}, {coordinates}, Layout::{layout}>"
            else:
                coordinates, laws, layout = rest.split(", ")
                header, kernel = "tile", f"tile_kernel<{real}, {coordinates}, LawFamily::{laws}, Layout::{layout}>"
            return (
                f'#include "kernels/cuda/{header}.cuh"\nnamespace pathbound::cuda {{\n'
                f"template __global__ void {kernel}(const __grid_constant__ SimSpec<{real}>,\n"
                f"                                  const __grid_constant__ Segment<{real}>);\n}}\n"
            )
    fail(f"{name} is no scalar, tile or together kernel of variants.def")


def ptx_code(text):
    """(instructions, labels) of a file of PTX, moves and declarations left out."""
    code, labels = [], {}
    for line in text.splitlines():
        line = line.strip()
        label = re.match(r"(\$\w+):$", line)
        if label:
            labels[label.group(1)] = len(code)
        elif re.match(r"(@!?%p\d+\s+)?(?!mov|selp|cvta)[a-z][\w.:]+(\s.*)?;$", line):  # those the emulator calls moves
            code.append(re.sub(r"\bbra(\.uni)?\s+(\$\w+)", r"BRA `(\2)", line))
    return code, labels


def counted_part(code, labels, job):
    """The instructions that stand for a job's steps. One coordinate: the shortest of the loops over blocks of random
    words, which is that of SGD with a constant step size; the others read step sizes or take signs. Else the longest
    loop, over steps, of the code before what ptxas puts at the end because it is rarely needed."""
    if job.startswith("J1"):
        least = 60  # instructions; shorter loops do something else
        loops = machine_code.innermost(machine_code.loops_of(code, labels))
        loops = [(last - first, first, last) for first, last in loops if last - first >= least]
        chosen = min(loops, default=None)
    else:
        ends = [at for at, one in enumerate(code) if "WARPSYNC.COLLECTIVE" in one]
        ends += [at for label, at in labels.items() if label.startswith("$__")]
        loops = machine_code.loops_of(code[: min(ends, default=len(code))], labels)
        chosen = max([(last - first, first, last) for first, last in loops], default=None)
    if chosen is None:
        fail(f"no loop of {job} found")
    return code[chosen[1] : chosen[2] + 1]


def look_at_root(nvcc, nvdisasm, arch, folder):
    """That sqrt.rn.f32 is, in the range without a call, what kernels/cuda/root.hpp does."""
    source = pathlib.Path(folder) / "root.cu"
    source.write_text("__global__ void roots(float* x) { x[0] = __fsqrt_rn(x[1]); }\n")
    compile_one(nvcc, source, arch, folder)
    functions = machine_code.disassemble(nvdisasm, f"{folder}/root.{arch}.cubin")
    text = "; ".join(one for code, _ in functions.values() for one in code)
    found = re.search(
        r"IADD3 (\w+), (?:PT, PT, )?(\w+), -0xd000000, RZ; MUFU\.RSQ (\w+), \2; "
        r"ISETP\.GT\.U32\.AND P0, PT, \1, 0x727fffff, PT; .*?"
        r"FMUL\.FTZ (\w+), \2, \3; FMUL\.FTZ (\w+), \3, 0\.5; "
        r"FFMA (\w+), -\4, \4, \2; FFMA \w+, \6, \5, \4; ",
        re.sub(r"\.reuse", "", text),
    )
    if not found:
        fail(f"{arch}: sqrt.rn.f32 is no longer made of the instructions of kernels/cuda/root.hpp:\n{text}")


def measure_machine(architectures, jobs):
    nvcc = find_nvcc()
    try:
        nvdisasm = machine_code.find_nvdisasm()
    except machine_code.NoDisassembler as why:
        raise Missing(str(why)) from why
    release = re.search(r"release ([\d.]+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)
    names, result = kernel_names(), {}
    with tempfile.TemporaryDirectory() as folder:
        for arch in architectures:
            look_at_root(nvcc, nvdisasm, arch, folder)

        @functools.cache
        def code_of(kernel, arch):
            """Figures of ptxas, and (code, labels); of PTX for compute_..."""
            source = pathlib.Path(folder) / f"{kernel}.cu"
            source.write_text(kernel_source(kernel))
            if arch.startswith("compute_"):
                compile_one(nvcc, source, arch, folder, "ptx")
                return None, ptx_code(pathlib.Path(f"{folder}/{kernel}.{arch}.ptx").read_text())
            (figures,) = parse_ptxas(compile_one(nvcc, source, arch, folder), names).values()
            (function,) = machine_code.disassemble(nvdisasm, f"{folder}/{kernel}.{arch}.cubin").values()
            return figures, function

        for name, kernel in jobs.items():
            ptx = len(counted_part(*code_of(kernel, "compute_80")[1], name))  # the profile's
            result[name] = {}
            for arch in architectures:
                figures, (code, labels) = code_of(kernel, arch)
                warps, most = active_warps(arch, figures["threads"], figures["registers"], figures["shared_bytes"])
                part = counted_part(code, labels, name)
                one = {"kernel": kernel, "registers": figures["registers"], "spill_bytes": figures["spill_bytes"]}
                one |= {"warps": warps, "most_warps": most}
                if name in STRAIGHT:
                    one["loop"] = len(part) / STRAIGHT[name]
                one["of_ptx"] = round(len(part) / ptx, 4)
                one["kinds"] = machine_code.count_kinds(part)
                result[name][arch] = one
    return {"toolkit": release.group(1) if release else "?", "jobs": result}


def add_model(machine, profile):
    """By job and architecture: kinds of machine instructions a path-step, clocks of a multiprocessor, what limits."""
    for name, architectures in machine["jobs"].items():
        dynamic = profile[name]
        for arch, one in architectures.items():
            parts = {}
            for part, classes in dynamic["classes"].items():
                parts[part] = {}
                for key, n in classes.items():
                    if key in CLASS_KINDS:
                        parts[part][CLASS_KINDS[key]] = parts[part].get(CLASS_KINDS[key], 0) + n
            # Where PTX and machine code have one instruction for one another, those that were executed; the others, as
            # many as there are in all, in the proportions in which they stand in the code.
            same = {kind: n for kind, n in parts["step"].items() if kind in ("fp64", "memory", "shuffle")}
            others = {kind: n for kind, n in one["kinds"].items() if kind not in ("fp64", "memory", "shuffle")}
            rest = (dynamic["step_instructions"] - dynamic["step_moves"]) * one["of_ptx"] - sum(same.values())
            parts["step"] = same | {kind: rest * n / sum(others.values()) for kind, n in others.items()}
            one["instructions"] = {part: round(sum(kinds.values()), 2) for part, kinds in parts.items()}
            one["clocks"], one["limits"], one["clocks_by_unit"] = {}, {}, {}
            for part, kinds in parts.items():
                clocks = clocks_of(kinds, arch)
                if part == "step":  # lanes that wait take as long as those at work
                    clocks = {key: value * 32 / dynamic["active_lanes"] for key, value in clocks.items()}
                unit = max(clocks, key=clocks.get)
                one["clocks"][part], one["limits"][part] = float(f"{clocks[unit]:.4g}"), unit
                if part == "step":
                    one["clocks_by_unit"] = {key: float(f"{value:.4g}") for key, value in clocks.items()}
    return machine


def write_model(machine):
    model = {
        "about": "Clocks of one multiprocessor a path-step takes at least, by job and compute capability, and which unit "
        "says so (docs/performance.md). Generated by scripts/gpu_figures.py; bench_throughput reads it.",
        "jobs": {
            name: {arch: {key: one[key] for key in ("instructions", "clocks", "limits")} for arch, one in of_job.items()}
            for name, of_job in machine["jobs"].items()
        },
    }
    MODEL.write_text(json.dumps(model, indent=1) + "\n")


def table_of_machine(machine):
    lines = [
        f"CUDA {machine['toolkit']}. Machine instructions of the step kernel a path-step, and what part of a clock of a "
        "multiprocessor",
        "each unit takes for them; the largest limits.",
        "",
        "| job | kernel | for | registers | warps | in the loop | in all | "
        + " | ".join(UNIT_TEXT[unit] for unit in ["issue"] + list(UNITS)) + " |",
        "|---|---|---|---|---|---|---|" + "---|" * (1 + len(UNITS)),
    ]
    for name, of_job in machine["jobs"].items():
        for arch, one in of_job.items():
            cells = [name, f"`{one['kernel']}`", arch, str(one["registers"]), f"{one['warps']}/{one['most_warps']}"]
            cells += [f"{one['loop']:.2f}" if "loop" in one else "-"]
            if "clocks" in one:
                cells += [number(one["instructions"]["step"])]
                for unit, clocks in one["clocks_by_unit"].items():
                    text = f"{clocks:.3g}"
                    cells.append(f"**{text}**" if unit == one["limits"]["step"] else text)
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def table_of_predictions(machine):
    lines = [
        "| job | " + " | ".join(f"{name} ({count} x {clock} GHz)" for name, _, count, clock in DEVICES) + " |",
        "|---|" + "---|" * len(DEVICES),
    ]
    for name, of_job in machine["jobs"].items():
        cells = [name]
        for _, arch, count, clock in DEVICES:
            one = of_job[arch]
            total = sum(one["clocks"].values())
            share = 100 * one["clocks"]["step"] / total
            cells.append(
                f"{count * clock * 1e9 / total:.2e} ({UNIT_TEXT[one['limits']['step']]}; step kernel {share:.0f}%)"
            )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def check_machine(machine, stored):
    failures, hints = [], []
    before = stored.get("machine", {"jobs": {}, "toolkit": "?"})
    for name, of_job in machine["jobs"].items():
        for arch, one in of_job.items():
            what = f"{name}, {arch}"
            if one["spill_bytes"] > 0:
                failures.append(f"{what}: {one['spill_bytes']} bytes of spills")
            if one.get("loop", 0) > MOST_INSTRUCTIONS:
                failures.append(f"{what}: {one['loop']:.2f} instructions a path-step (most: {MOST_INSTRUCTIONS:g})")
            old = before["jobs"].get(name, {}).get(arch)
            if old is None:
                failures.append(f"{what}: not among the stored figures")
                continue
            if "loop" in one and one["loop"] != old["loop"]:
                text = f"{what}: {old['loop']:.2f} -> {one['loop']:.2f} instructions a path-step"
                if before["toolkit"] != machine["toolkit"]:
                    hints.append(f"{text} (CUDA {machine['toolkit']}, stored: {before['toolkit']})")
                elif one["loop"] / old["loop"] > MOST_GROWTH:
                    failures.append(text)
                else:
                    hints.append(text)
    return failures, hints


# -------------------------------------------------------------------------------------------------------- files
def replace_block(page, name, lines):
    begin, end = f"<!-- generated by scripts/gpu_figures.py: {name} -->", "<!-- end -->"
    before, found, rest = page.read_text().partition(begin)
    if not found or end not in rest:
        fail(f"{page.name} has no block {begin} ... {end}")
    page.write_text(before + begin + "\n" + "\n".join(lines) + "\n" + rest[rest.index(end) :])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="registers|profile|machine")
    parser.add_argument("--arch", help="architectures for registers and machine, such as sm_80,sm_90")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true")
    action.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    for part in parts:
        if part not in PARTS:
            parser.error(f"{part} is none of {', '.join(PARTS)}")
    asked = arguments.arch.split(",") if arguments.arch else None
    stored = json.loads(STORED.read_text()) if STORED.exists() else {}

    failed, ran = False, False
    for part in parts:
        measure, check, table = PARTS[part]
        try:
            figures = measure(asked, arguments.check, stored)
        except Missing as why:
            print(f"gpu_figures: {part}: skipped: {why}", file=sys.stderr)
            continue
        ran = True
        if arguments.check:
            failures, hints = check(figures, stored)
            for line in failures:
                print(f"gpu_figures: {part}: {line}", file=sys.stderr)
            for line in hints:
                print(f"gpu_figures: {part}: (no failure) {line}", file=sys.stderr)
            if hints:
                print("gpu_figures: --write would bring the stored figures up to date", file=sys.stderr)
            print(f"gpu_figures: {part}: {f'{len(failures)} failures' if failures else 'as it should be'}")
            failed = failed or bool(failures)
        elif arguments.write:
            if part == "registers" and stored.get(part, {}).get("toolkit") == figures["toolkit"]:
                figures["architectures"] = stored[part]["architectures"] | figures["architectures"]
            stored[part] = figures
            STORED.write_text(json.dumps(stored, indent=1) + "\n")
            if part == "machine":
                write_model(figures)
                replace_block(PERFORMANCE, "predictions", table_of_predictions(figures))
            replace_block(PERFORMANCE if part == "machine" else PAGE, part, table(figures))
        if not arguments.check:
            print("\n".join(table(figures)))
    if not ran:
        sys.exit(77)
    sys.exit(1 if failed else 0)


def machine_part(asked, check, stored):
    """--check: J1 alone, which needs no profile."""
    jobs = {name: job["kernel"] for name, job in stored.get("profile", {}).items()}
    if not jobs:
        fail("no profile is stored (gpu_figures.py --write profile)")
    if check:
        return measure_machine(asked or ["sm_80", "sm_90"], {"J1": jobs["J1"]})
    return add_model(measure_machine(asked or MACHINE_ARCHITECTURES, jobs), stored["profile"])


# How a part is measured (from --arch, --check and what is stored), checked and printed.
PARTS = {
    "registers": (lambda asked, *_: measure_registers(asked or ARCHITECTURES), check_registers, table_of_registers),
    "profile": (lambda *_: measure_profile(), check_profile, table_of_profile),
    "machine": (machine_part, check_machine, table_of_machine),
}


if __name__ == "__main__":
    main()
