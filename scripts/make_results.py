#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/results.md: what the benchmark binaries answer to every question of docs/questions.toml.

  make_results.py --write [--partial] [DIR...]   DIR: what a binary wrote with -o (DIR/results.json)
  make_results.py --check [--partial]

--write with folders gathers their answers and the figures these name into docs/results.json (all folders of a page at
once: what is not named is gone), then makes the page and its pictures from it; without folders it only makes these again.
--check makes both in memory and compares them with what lies in docs/, byte for byte.

Refused: a question without an answer, unless --partial (the page then says at its top which are missing); an answer that
belongs to no question, that names no figure, or a figure that is not there; two answers or figures of one name.
Exit status: 0; 1 when a page is refused or a check fails; 2 for wrong arguments.
"""
import argparse
import fnmatch
import html
import json
import math
import pathlib
import re
import sys
import textwrap
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
KINDS = {"claim": "Claim", "first_experiment": "First experiment", "next_check": "Next check",
         "open_question": "Open question", "limitation": "Limitation", "question": "Question"}
DIGITS = 5  # significant, of numbers in figures and answers
MOST_POINTS = 240  # of a series
OVERVIEW_ANSWERS = 3  # of a question, at the top of the page

# The colours of the report (host/report_template.html).
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#30363d"]


class Refused(Exception):
    """The page cannot be made; the message says why, one reason a line."""


# ---------------------------------------------------------------------- the questions
def load_questions(path):
    data = tomllib.loads(path.read_text())
    problems, seen = [], set()
    for question in data["question"]:
        name = question.get("id", "?")
        missing = [key for key in ("id", "title", "kind", "source", "text") if not question.get(key)]
        if missing:
            problems.append(f"question {name}: has no {', '.join(missing)}")
            continue
        if name in seen:
            problems.append(f"question {name}: there are two of them")
        seen.add(name)
        if question["kind"] not in KINDS:
            problems.append(f"question {name}: kind = {question['kind']!r} (must be one of {', '.join(KINDS)})")
        if question["source"] not in data["sources"]:
            problems.append(f"question {name}: source = {question['source']!r} is not in [sources]")
        if bool(question.get("answers")) == bool(question.get("not_simulated")):
            problems.append(f"question {name}: must have either answers or not_simulated")
    if problems:
        raise Refused("\n".join(problems))
    return data["sources"], data["question"]


# ---------------------------------------------------------------------- the results
def rounded(value):
    """Numbers to DIGITS significant digits, all through a structure of lists and dictionaries."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return value


def thinned(series):
    """At most about MOST_POINTS points, the last one among them."""
    n = len(series["x"])
    stride = max(1, math.ceil(n / MOST_POINTS))
    keep = sorted(set(range(0, n, stride)) | {n - 1}) if n else []
    out = dict(series)
    for key in ("x", "y", "lower", "upper"):
        out[key] = [series[key][i] for i in keep] if series[key] else []
    return out


def gather(folders):
    """The content of docs/results.json."""
    answers, figures, runs, problems = [], [], [], []
    names, titles = set(), set()
    for folder in folders:
        path = pathlib.Path(folder) / "results.json"
        if not path.is_file():
            problems.append(f"{path}: there is no such file")
            continue
        results = json.loads(path.read_text())
        if not results.get("answers"):
            problems.append(f"{path}: has no answers")
            continue
        available = {figure["title"]: figure for figure in results["figures"]}
        for answer in results["answers"]:
            if answer["id"] in names:
                problems.append(f"{path}: answer {answer['id']}: there are two of them")
            names.add(answer["id"])
            if not answer["figure"]:
                problems.append(f"{path}: answer {answer['id']} names no figure")
            elif answer["figure"] not in available:
                problems.append(f"{path}: answer {answer['id']}: there is no figure called {answer['figure']!r}")
            answers.append(rounded(answer))
        for title in dict.fromkeys(answer["figure"] for answer in results["answers"]):
            if title not in available:
                continue
            if title in titles:
                problems.append(f"{path}: figure {title!r}: another binary has one of this name")
            titles.add(title)
            figure = dict(available[title])
            figure["series"] = [thinned(rounded(one)) for one in figure["series"]]
            figures.append(figure)
        environment = results["environment"]
        runs.append({"title": results["title"], "version": environment["version"], "commit": environment["commit"],
                     "backend": environment["backend"]})
    if problems:
        raise Refused("\n".join(problems))
    return {"runs": runs, "answers": answers, "figures": figures}


def json_text(value, depth=0):
    """One line per list of numbers, else one per entry."""
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        lines = [f"{pad}{json.dumps(key)}: {json_text(one, depth + 1)}" for key, one in value.items()]
        return "{\n" + ",\n".join(lines) + "\n" + "  " * depth + "}"
    if isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value):
        return "[\n" + ",\n".join(pad + json_text(one, depth + 1) for one in value) + "\n" + "  " * depth + "]"
    return json.dumps(value)


def matched(question, answers, problems):
    """The answers of a question, in the order of its patterns."""
    out = []
    for pattern in question.get("answers", []):
        found = [answer for answer in answers if fnmatch.fnmatchcase(answer["id"], pattern)]
        if not found:
            problems.append(f"question {question['id']}: no answer matches {pattern}")
        out += [answer for answer in found if answer not in out]
    return out


# ---------------------------------------------------------------------- the pictures
def slug(title):
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def number_text(value):
    return f"{value:.4g}"


class Axis:
    """Maps values to pixels; ticks at round numbers."""

    def __init__(self, values, log, first, last):
        self.log, self.first, self.last = log, first, last
        values = [v for v in values if self.drawable(v)]
        low, high = (min(values), max(values)) if values else (1.0, 1.0)
        if log:
            low, high = math.log10(low), math.log10(high)
        if high - low < 1e-12 * max(1.0, abs(low)):
            low, high = low - 0.5, high + 0.5
        space = 0.03 * (high - low)
        self.low, self.high = low - space, high + space

    def drawable(self, value):
        return value is not None and math.isfinite(value) and (value > 0.0 or not self.log)

    def at(self, value):
        v = math.log10(value) if self.log else value
        return self.first + (v - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self):
        span = self.high - self.low
        if self.log and span > 1.0:
            stride = max(1, math.ceil(span / 7.0))
            exponents = [e for e in range(math.ceil(self.low), math.floor(self.high) + 1) if e % stride == 0]
            return [(10.0 ** e, f"1e{e}" if abs(e) > 3 else number_text(10.0 ** e)) for e in exponents]
        low, high = (10.0 ** self.low, 10.0 ** self.high) if self.log else (self.low, self.high)
        raw = (high - low) / 6.0
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * m for m in (1.0, 2.0, 2.5, 5.0, 10.0) if unit * m >= raw)
        out, i = [], math.ceil(low / step)
        while i * step <= high:
            value = i * step
            if value > 0.0 or not self.log:
                out.append((value, number_text(value)))
            i += 1
        return out


def svg_of(figure):
    """The figure as an SVG of fixed width: axes, points, whiskers, lines, and the legend below."""
    width, left, right, top, plot = 760, 70, 14, 34, 330
    series = figure["series"]
    every_y = [v for one in series for key in ("y", "lower", "upper") for v in one[key]]
    x = Axis([v for one in series for v in one["x"]], figure["log_x"], left, width - right)
    y = Axis(every_y, figure["log_y"], top + plot, top)
    columns = 2
    rows = math.ceil(len(series) / columns)
    height = top + plot + 58 + 17 * rows
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#ffffff"/>']

    def text(px, py, content, anchor="middle", size=12, extra=""):
        out.append(f'<text x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222"{extra}>'
                   f"{html.escape(content)}</text>")

    def line(x1, y1, x2, y2, colour, stroke=1.0):
        out.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
                   f'stroke-width="{stroke:g}"/>')

    text(width / 2, 20, figure["title"], size=14)
    for value, label in x.ticks():
        line(x.at(value), top, x.at(value), top + plot, "#e5e5e5")
        text(x.at(value), top + plot + 16, label)
    for value, label in y.ticks():
        line(left, y.at(value), width - right, y.at(value), "#e5e5e5")
        text(left - 6, y.at(value) + 4, label, "end")
    out.append(f'<rect x="{left}" y="{top}" width="{width - left - right}" height="{plot}" fill="none" '
               'stroke="#888888"/>')
    text((left + width - right) / 2, top + plot + 36, figure["x_label"])
    text(16, top + plot / 2, figure["y_label"], extra=f' transform="rotate(-90 16 {top + plot / 2:.1f})"')

    colours = {}  # given out in order of appearance
    for index, one in enumerate(series):
        key = ("group", one["group"]) if one["group"] >= 0 else ("alone", index)
        colour = colours.setdefault(key, COLOURS[len(colours) % len(COLOURS)])
        dash = ' stroke-dasharray="6 4"' if one["dashed"] else ""
        pieces, piece, marks = [], [], []
        for i, (px, py) in enumerate(zip(one["x"], one["y"])):
            if not (x.drawable(px) and y.drawable(py)):
                pieces.append(piece)
                piece = []
                continue
            piece.append(f"{x.at(px):.1f},{y.at(py):.1f}")
            marks.append((x.at(px), y.at(py)))
            if one["lower"] and one["upper"]:
                low, high = one["lower"][i], one["upper"][i]
                end = y.at(high) if y.drawable(high) else y.at(py)
                begin = y.at(low) if y.drawable(low) else float(top + plot) if figure["log_y"] else y.at(py)
                line(x.at(px), begin, x.at(px), end, colour)
        pieces.append(piece)
        if one["line"]:
            for piece in pieces:
                if len(piece) > 1:
                    out.append(f'<polyline points="{" ".join(piece)}" fill="none" stroke="{colour}" '
                               f'stroke-width="1.6"{dash}/>')
        if not one["line"] or len(marks) <= 30:
            out += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.6" fill="{colour}"/>' for px, py in marks
                    if not one["dashed"] or not one["line"]]
        lx = left + (index % columns) * (width - left - right) / columns
        ly = top + plot + 56 + 17 * (index // columns)
        if one["line"]:
            out.append(f'<line x1="{lx:.1f}" y1="{ly - 4:.1f}" x2="{lx + 22:.1f}" y2="{ly - 4:.1f}" '
                       f'stroke="{colour}" stroke-width="1.6"{dash}/>')
        else:
            out.append(f'<circle cx="{lx + 11:.1f}" cy="{ly - 4:.1f}" r="2.6" fill="{colour}"/>')
        text(lx + 28, ly, textwrap.shorten(one["name"], 52, placeholder="..."), "start")
    out.append("</svg>")
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------------- the page
def wrapped(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def cell(text):
    return " ".join(text.split()).replace("|", "\\|")


def number_cell(answer):
    if answer["number"] is None:
        return "-"
    out = number_text(answer["number"])
    low, high = answer["lower"], answer["upper"]
    if low is not None or high is not None:
        ends = "{}, {}".format("-inf" if low is None else number_text(low),
                               "inf" if high is None else number_text(high))
        out += f" [{ends}]"
        if answer["confidence"] is not None:
            out += f" at {100.0 * answer['confidence']:.6g}%"
    return out


def question_section(question, sources, found, figures):
    out = [f'<a id="{question["id"]}"></a>', f"### {question['title']}", "",
           wrapped(f"**{KINDS[question['kind']]}** ({sources[question['source']]}): {question['text']}"), ""]
    if question.get("not_simulated"):
        return out + [wrapped(f"Not answered here. {question['not_simulated']}"), ""]
    out += ["| question | expected | answer | number | what it is |", "|---|---|---|---|---|"]
    for answer in found:
        said = f"**{answer['answer']}**" + ("" if answer["met"] else " (NOT as expected)")
        out.append(f"| {cell(answer['question'])} | {cell(answer['expected']) or '-'} | {cell(said)} | "
                   f"{number_cell(answer)} | {cell(answer['number_is']) or '-'} |")
    out.append("")
    for title in dict.fromkeys(answer["figure"] for answer in found):
        out += [f"![{title}](images/results/{slug(title)}.svg)", "", wrapped(figures[title]["caption"]), ""]
    for command in dict.fromkeys(answer["experiment"] for answer in found):
        out += [f"    {line}" for line in command.splitlines()]
    return out + [""]


def make_page(sources, questions, results, partial):
    """{path in docs: text} of the page and its pictures. Refused as the top of this file says."""
    answers = results["answers"]
    figures = {figure["title"]: figure for figure in results["figures"]}
    missing, problems, used = [], [], set()
    sections, overview = [], []
    source = None
    for question in questions:
        lacking = []
        found = matched(question, answers, lacking)
        used |= {answer["id"] for answer in found}
        missing += lacking
        for answer in found:
            if answer["figure"] not in figures:
                problems.append(f"answer {answer['id']}: there is no figure called {answer['figure']!r}")
        if not found and not question.get("not_simulated"):
            continue
        if question["source"] != source:
            source = question["source"]
            sections += [f"## {sources[source]}", ""]
        if problems:
            continue
        sections += question_section(question, sources, found, figures)
        all_said = list(dict.fromkeys(textwrap.shorten(answer["answer"], 90, placeholder=" ...") for answer in found))
        said = "; ".join(all_said[:OVERVIEW_ANSWERS]) or "not answered here"
        if len(all_said) > OVERVIEW_ANSWERS:
            said += f"; {len(all_said) - OVERVIEW_ANSWERS} more"
        overview.append(f"| [{question['title']}](#{question['id']}) | {KINDS[question['kind']].lower()} | {cell(said)} |")
    problems += [f"answer {answer['id']} belongs to no question of docs/questions.toml" for answer in answers
                 if answer["id"] not in used]
    if not partial:
        problems += missing
    if problems:
        raise Refused("\n".join(dict.fromkeys(problems)))

    commands = dict.fromkeys(answer["experiment"].split()[0] for answer in answers if answer["experiment"])
    not_met = [answer["id"] for answer in answers if not answer["met"]]
    out = ["# Results", "",
           wrapped("Every claim, first experiment, next check, open question and limitation of the sources, with what "
                   "the benchmark binaries answer to it. *Expected* is what theory says beforehand; numbers stand with "
                   "their interval at the confidence given; the figures are those of the binaries' reports. This page "
                   "is made by `scripts/make_results.py` from [results.json](results.json) and "
                   "[questions.toml](questions.toml); a test holds it against both."), ""]
    out += [wrapped(f"{len(questions)} questions, {len(answers)} answers"
                    + (f", {len(not_met)} of them not as expected: {', '.join(not_met)}." if not_met else
                       ", each as expected.")), ""]
    if missing:
        out += ["**Partial page.** Not answered yet:", ""] + [f"- {line}" for line in missing] + [""]
    out += ["| question | kind | answer |", "|---|---|---|"] + overview + [""] + sections
    out += ["## Made from", "", "| run | version | commit | backend |", "|---|---|---|---|"]
    out += [f"| {run['title']} | {run['version']} | {run['commit']} | {run['backend']} |" for run in results["runs"]]
    pages = {"results.md": "\n".join(out) + "\n"}
    for title in dict.fromkeys(answer["figure"] for answer in answers):
        name = f"images/results/{slug(title)}.svg"
        if name in pages:
            raise Refused(f"figures: two titles make the file name {name}")
        pages[name] = svg_of(figures[title])
    return pages


def differences(pages, docs):
    """What lies in docs/ and is not what the pages are, one line each."""
    out = []
    for name, content in pages.items():
        path = docs / name
        if not path.is_file():
            out.append(f"docs/{name} is missing")
        elif path.read_text() != content:
            out.append(f"docs/{name} is not what its results make of it")
    for path in sorted((docs / "images/results").glob("*")):
        if f"images/results/{path.name}" not in pages:
            out.append(f"docs/images/results/{path.name} belongs to no figure of the page")
    return out


def main(arguments):
    parser = argparse.ArgumentParser(prog="make_results.py", description="docs/results.md from results of benchmarks")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="make the page; with folders from their results")
    action.add_argument("--check", action="store_true", help="compare what lies in docs/ with what would be made")
    parser.add_argument("--partial", action="store_true", help="questions may lack answers")
    parser.add_argument("--docs", type=pathlib.Path, default=DOCS, help=argparse.SUPPRESS)  # tests
    parser.add_argument("folders", nargs="*", metavar="DIR")
    options = parser.parse_args(arguments)
    if options.check and options.folders:
        parser.error("--check takes no folders")
    try:
        sources, questions = load_questions(options.docs / "questions.toml")
        stored = options.docs / "results.json"
        if options.folders:
            results = gather(options.folders)
        elif stored.is_file():
            results = json.loads(stored.read_text())
        else:
            raise Refused(f"{stored}: there is no such file; name the folders of the benchmarks")
        pages = make_page(sources, questions, results, options.partial)
        if options.check:
            found = differences(pages, options.docs)
            if found:
                raise Refused("\n".join(found + ["make them again: scripts/make_results.py --write"]))
            return 0
        if options.folders:
            stored.write_text(json_text(results) + "\n")
        (options.docs / "images/results").mkdir(parents=True, exist_ok=True)
        for path in (options.docs / "images/results").glob("*.svg"):
            if f"images/results/{path.name}" not in pages:
                path.unlink()
        for name, content in pages.items():
            (options.docs / name).write_text(content)
        print(f"docs/results.md: {len(questions)} questions, {len(results['answers'])} answers, "
              f"{len(pages) - 1} figures")
        return 0
    except Refused as refused:
        print("\n".join(f"make_results: {line}" for line in str(refused).splitlines()), file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
