#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/results.md is what scripts/make_results.py makes of docs/results.json and docs/questions.toml, and the script
refuses what it has to refuse."""
import contextlib
import copy
import importlib.util
import io
import json
import os
import pathlib
import re
import tempfile
import unittest
import xml.etree.ElementTree

ROOT = pathlib.Path(os.environ.get("PATHBOUND_SOURCE_DIR", pathlib.Path(__file__).resolve().parent.parent))
spec = importlib.util.spec_from_file_location("make_results", ROOT / "scripts/make_results.py")
make_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_results)

QUESTIONS = """
[sources]
paper = "A paper"
[[question]]
id = "one"
title = "First"
kind = "claim"
source = "paper"
text = "It holds."
answers = ["a/*"]
[[question]]
id = "two"
title = "Second"
kind = "open_question"
source = "paper"
text = "Does it | hold?"
answers = ["b/one", "a/x"]
[[question]]
id = "three"
title = "Third"
kind = "claim"
source = "paper"
text = "Networks."
not_simulated = "It needs a network."
"""


def series(**changes):
    return {"name": "s <1>", "x": [1.0, 2.0, 4.0], "y": [1.0, 0.1, None], "lower": [], "upper": [], "line": True,
            "dashed": False, "group": -1} | changes


def figure(title, **changes):
    return {"title": title, "caption": "A caption.", "x_label": "x", "y_label": "y", "log_x": False, "log_y": True,
            "series": [series(), series(line=False, lower=[0.5, 0.0, None], upper=[2.0, 0.2, None])]} | changes


def answer(name, figure_title, **changes):
    return {"id": name, "question": "Is it?", "claim": "yes, A paper", "expected": "yes", "answer": f"yes, {name}",
            "met": True, "number_is": "ratio", "number": 1.23456789, "lower": 1.0, "upper": None, "confidence": 0.99,
            "figure": figure_title, "experiment": "bench_a --case x"} | changes


def results(answers, figures):
    return {"schema": 1, "title": "Bench A", "answers": answers, "figures": figures, "tables": [],
            "environment": {"version": "0.1.0", "commit": "abc", "backend": "cpu", "device": "cpu", "isa": "avx2",
                            "threads": 2}}


class Page(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.docs = pathlib.Path(folder.name) / "docs"
        self.docs.mkdir()
        (self.docs / "questions.toml").write_text(QUESTIONS)
        self.content = results([answer("a/x", "F: x"), answer("a/y", "F: x"), answer("b/one", "G")],
                               [figure("F: x"), figure("G"), figure("unused")])

    def run_script(self, *arguments, content=None):
        """Exit status and what was said."""
        folder = self.docs.parent / "a"
        folder.mkdir(exist_ok=True)
        (folder / "results.json").write_text(json.dumps(self.content if content is None else content))
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = make_results.main(["--docs", str(self.docs), *arguments])
        return status, out.getvalue()

    def write(self, *more, content=None):
        return self.run_script("--write", *more, str(self.docs.parent / "a"), content=content)

    def test_a_section_has_claim_figure_number_interval_and_answer(self):
        self.assertEqual(self.write()[0], 0)
        page = (self.docs / "results.md").read_text()
        for part in ("### First", "**Claim** (A paper): It holds.", "**yes, a/x**", "1.235 [1, inf] at 99%",
                     "images/results/f-x.svg", "    bench_a --case x", "**Open question** (A paper): Does it | hold?",
                     "Not answered here. It needs a network.", "| Bench A | 0.1.0 | abc | cpu |"):
            self.assertIn(part, page)
        self.assertEqual(sorted(p.name for p in (self.docs / "images/results").glob("*")), ["f-x.svg", "g.svg"])

    def test_written_twice_it_is_the_same_and_the_check_passes(self):
        self.write()
        first = {p: p.read_bytes() for p in self.docs.rglob("*") if p.is_file()}
        self.assertEqual(self.run_script("--write")[0], 0)
        self.assertEqual(first, {p: p.read_bytes() for p in self.docs.rglob("*") if p.is_file()})
        self.assertEqual(self.run_script("--check"), (0, ""))

    def test_what_drifts_fails_the_check(self):
        self.write()
        for change in (lambda: (self.docs / "results.md").write_text("else"),
                       lambda: (self.docs / "images/results/g.svg").unlink(),
                       lambda: (self.docs / "images/results/old.svg").write_text("<svg/>"),
                       lambda: (self.docs / "results.json").write_text(
                           (self.docs / "results.json").read_text().replace("1.2346", "1.5"))):
            change()
            status, said = self.run_script("--check")
            self.assertEqual(status, 1)
            self.assertIn("--write", said)
            self.run_script("--write")
        self.assertFalse((self.docs / "images/results/old.svg").exists())

    def test_a_question_without_an_answer_is_refused_unless_partial(self):
        content = copy.deepcopy(self.content)
        content["answers"].pop()
        status, said = self.write(content=content)
        self.assertEqual(status, 1)
        self.assertIn("question two: no answer matches b/one", said)
        self.assertFalse((self.docs / "results.md").exists())
        self.assertEqual(self.write("--partial", content=content)[0], 0)
        self.assertIn("**Partial page.**", (self.docs / "results.md").read_text())
        self.assertEqual(self.run_script("--check")[0], 1)
        self.assertEqual(self.run_script("--check", "--partial")[0], 0)

    def test_answers_that_cannot_be_shown_are_refused(self):
        for change, says in (
                (lambda c: c["answers"].append(answer("z", "G")), "answer z belongs to no question"),
                (lambda c: c["answers"].append(answer("a/x", "G")), "there are two of them"),
                (lambda c: c["answers"][0].update(figure=""), "names no figure"),
                (lambda c: c["answers"][0].update(figure="H"), "there is no figure called 'H'"),
                (lambda c: c["answers"].clear(), "has no answers")):
            content = copy.deepcopy(self.content)
            change(content)
            status, said = self.write(content=content)
            self.assertEqual(status, 1, says)
            self.assertIn(says, said)

    def test_what_was_not_expected_is_said(self):
        content = copy.deepcopy(self.content)
        content["answers"][0]["met"] = False
        self.write(content=content)
        page = (self.docs / "results.md").read_text()
        self.assertIn("1 of them not as expected: a/x", page)
        self.assertIn("**yes, a/x** (NOT as expected)", page)

    def test_questions_are_checked(self):
        for old, new, says in (('kind = "claim"', 'kind = "opinion"', "kind = 'opinion'"),
                               ('id = "two"', 'id = "one"', "two of them"),
                               ('source = "paper"', 'source = "x"', "not in [sources]"),
                               ('answers = ["a/*"]', "", "either answers or not_simulated"),
                               ('title = "First"', "", "has no title")):
            (self.docs / "questions.toml").write_text(QUESTIONS.replace(old, new))
            status, said = self.write()
            self.assertEqual(status, 1, says)
            self.assertIn(says, said)

    def test_long_series_are_thinned_and_keep_both_ends(self):
        long = series(x=[float(i) for i in range(1000)], y=[1.0] * 1000)
        thin = make_results.thinned(long)
        self.assertLessEqual(len(thin["x"]), make_results.MOST_POINTS + 1)
        self.assertEqual((thin["x"][0], thin["x"][-1], len(thin["y"])), (0.0, 999.0, len(thin["x"])))

    def test_pictures_are_well_formed_and_points_lie_inside(self):
        for log in (False, True):
            picture = make_results.svg_of(figure("A & B", log_x=log))
            tree = xml.etree.ElementTree.fromstring(picture)
            texts = ["".join(t.itertext()) for t in tree.iter("{http://www.w3.org/2000/svg}text")]
            self.assertIn("A & B", texts)
            self.assertIn("s <1>", texts)
            for line in tree.iter("{http://www.w3.org/2000/svg}polyline"):
                for point in line.get("points").split():
                    x, y = map(float, point.split(","))
                    self.assertTrue(70 <= x <= 746 and 34 <= y <= 364, point)

    def test_a_flat_or_empty_figure_can_be_drawn(self):
        for one in (series(y=[2.0, 2.0, 2.0]), series(x=[], y=[])):
            xml.etree.ElementTree.fromstring(make_results.svg_of(figure("F", series=[one])))


class Committed(unittest.TestCase):
    """What lies in docs/."""

    def test_the_questions_are_well_formed(self):
        sources, questions = make_results.load_questions(ROOT / "docs/questions.toml")
        self.assertEqual({question["source"] for question in questions}, set(sources))
        kinds = [question["kind"] for question in questions]
        for kind, count in (("first_experiment", 3), ("next_check", 3), ("open_question", 3)):
            self.assertEqual(kinds.count(kind), count)

    def test_the_page_is_made_from_the_committed_results(self):
        out = io.StringIO()
        with contextlib.redirect_stderr(out):
            status = make_results.main(["--check"])
        self.assertEqual(status, 0, out.getvalue())
        page = (ROOT / "docs/results.md").read_text()
        for question in make_results.load_questions(ROOT / "docs/questions.toml")[1]:
            self.assertIn(f'<a id="{question["id"]}"></a>', page)
            section = page.split(f'<a id="{question["id"]}"></a>')[1].split("<a id=")[0]
            if "not_simulated" in question:
                continue
            pictures = re.findall(r"\((images/results/\S+\.svg)\)", section)
            self.assertTrue(pictures, question["id"])
            for picture in pictures:
                self.assertTrue((ROOT / "docs" / picture).is_file(), picture)


if __name__ == "__main__":
    unittest.main()
