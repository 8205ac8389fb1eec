# SPDX-License-Identifier: Apache-2.0
"""Machine code of a kernel: disassembles a cubin, finds its loops and sorts its instructions by the unit that runs them.

Used by gpu_figures.py. NVIDIA's disassembler nvdisasm is not part of every toolkit; it is looked for in
PATHBOUND_NVDISASM, on PATH, in CUDA_PATH, in /usr/local/cuda, and in build/nvdisasm, where it is installed from PyPI
(nvidia-cuda-nvdisasm) when it is nowhere else.
"""
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Which unit runs an instruction, by the first part of its name; "imad" and "wide" (of the 64-bit product) run where fp32
# does. Moves are what is left of constants and copies.
KINDS = {
    "fp32": "FADD FMUL FFMA FADD32I FMUL32I FFMA32I FSWZADD HADD2 HMUL2 HFMA2",
    "fp64": "DADD DMUL DFMA DSETP DMNMX",
    "imad": "IMAD IMUL IDP XMAD",
    "alu": "IADD IADD3 VIADD IABS LOP LOP3 SHF SHL SHR LEA ISETP ICMP ISCADD FSETP DSET FSET FCHK FMNMX IMNMX VIMNMX "
           "VIADDMNMX FSEL SEL PRMT BMSK SGXT PLOP3 P2R R2P I2FP HSETP2 HSET2 HMNMX2 F2FP MOV MOV32I CS2R I2I LEPC",
    "special": "MUFU I2F F2I F2F FRND POPC FLO BREV I2FD F2ID",
    "memory": "LD LDG LDS LDL LDC LDGSTS ST STG STS STL ATOM ATOMG ATOMS RED MATCH QSPC CCTL LDSM",
    "shuffle": "SHFL",
    "uniform": "R2UR S2UR UMOV VOTEU REDUX S2R",
    "control": "BRA BRX JMP CALL RET EXIT BSSY BSYNC BREAK WARPSYNC NANOSLEEP YIELD NOP BAR DEPBAR VOTE ELECT MEMBAR "
               "ERRBAR KILL BMOV RPCMOV PREEXIT ACQBULK ENDCOLLECTIVE",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}


class NoDisassembler(Exception):
    """There is no nvdisasm."""


def find_nvdisasm():
    own = ROOT / "build/nvdisasm"
    folders = [os.environ.get(name) for name in ("CUDA_PATH", "CUDA_HOME")] + ["/usr/local/cuda"]
    for candidate in [os.environ.get("PATHBOUND_NVDISASM"), "nvdisasm"] + [f"{f}/bin/nvdisasm" for f in folders if f]:
        found = candidate and shutil.which(candidate)
        if found:
            return found
    for attempt in (0, 1):
        for found in own.glob("lib/python*/site-packages/nvidia/*/bin/nvdisasm"):
            return str(found)
        if attempt == 0:
            print("gpu_figures: installing nvidia-cuda-nvdisasm into build/nvdisasm", file=sys.stderr)
            for command in (
                [sys.executable, "-m", "venv", own],
                [own / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "nvidia-cuda-nvdisasm>=13,<14"],
            ):
                if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
                    break
    raise NoDisassembler("no nvdisasm (set PATHBOUND_NVDISASM, or let pip install nvidia-cuda-nvdisasm)")


def kind_of(instruction):
    """Kind of an instruction; "wide" is an imad that makes a 64-bit product or the upper half of one."""
    parts = re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0].split(".")
    if parts[0] == "IMAD":
        if parts[1:2] in (["WIDE"], ["HI"]):
            return "wide"
        return "imad"
    kind = KIND_OF.get(parts[0])
    if kind is None:
        kind = "uniform" if parts[0].startswith("U") else "other"
    return kind


def functions_of(text):
    """Name -> (instructions, labels) of every function in what nvdisasm prints. A label is an instruction's index."""
    functions, code, labels = {}, None, None
    for line in text.splitlines():
        section = re.match(r"\s*\.section\s+\.text\.([^\s,]+)", line)
        if section:
            code, labels = functions.setdefault(section.group(1), ([], {}))
        elif code is not None:
            label = re.match(r"\s*(\.L_x?_?\d+|\$\S+):\s*$", line)
            found = re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*?)\s*;", line)
            if label:
                labels[label.group(1)] = len(code)
            elif found:
                code.append(found.group(1))
    return functions


def disassemble(nvdisasm, cubin):
    done = subprocess.run([nvdisasm, "-c", cubin], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"gpu_figures: nvdisasm {cubin}: {done.stderr.strip()}")
    return functions_of(done.stdout)


def target_of(instruction, labels):
    found = re.search(r"\bBRA\b.*`\((\S+?)\)", instruction)
    return labels.get(found.group(1)) if found else None


def loops_of(code, labels):
    """(first, last) instruction of each loop: of what lies between a branch back and its target. A branch to itself,
    which ends a function, is none."""
    loops = {}
    for at, instruction in enumerate(code):  # a part of the code: branches out of it are none of its loops
        target = target_of(instruction, labels)
        if target is not None and target < at:
            loops[target] = max(at, loops.get(target, at))
    return sorted(loops.items())


def innermost(loops):
    return [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]


def count_kinds(instructions):
    kinds = collections.Counter(kind_of(one) for one in instructions)
    return {kind: kinds[kind] for kind in list(KINDS)[:3] + ["wide"] + list(KINDS)[3:] + ["other"] if kinds[kind]}
