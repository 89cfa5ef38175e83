#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page of loadgen --report in a real browser: what it draws is what the
result says, and texts of a server stay texts.

Environment: LOADGEN_BIN, the program (default ./loadgen/loadgen), CHROMIUM, the
browser (default: the first one found), and those of llmd.py. Standard library
only. Exit status 77 when there is no program or no browser.
"""

import html.parser
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

import llmd
from mock_openai import MockServer, completion, plain

BIN = os.environ.get("LOADGEN_BIN", "./loadgen/loadgen")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, (
    "chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", "--dump-dom")
NUM_GAPS = sum(i for i in range(12) if i % 4 != 3)     # of answer()
HOSTILE = "</script><script>document.title = 'broken out'</script><!--<script>"
COLUMNS = {"Mean": "mean", "Std": "std", "p25": "p25", "Median (p50)": "median", "p99": "p99"}
SECTIONS = ("latency", "failures", "throughput", "timeline", "distributions", "client", "settings")


class Page(html.parser.HTMLParser):
    """A document's elements, (tag, attributes, section), and tables by section."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables = [], {}
        self.section = self.cell = None     # cell: the row that the text is for
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.elements.append((tag, attributes, self.section))
        if tag == "section":
            self.section = attributes["id"]
        elif tag == "tr":
            self.tables.setdefault(self.section, []).append([])
        elif tag in ("td", "th"):
            self.cell = self.tables[self.section][-1]
            self.cell.append("")

    def handle_endtag(self, tag):
        self.section = None if tag == "section" else self.section
        self.cell = None if tag in ("td", "th") else self.cell

    def handle_data(self, data):
        if self.cell is not None:
            self.cell[-1] += data

    def of(self, section, name):
        """Attributes of the elements of a section with this class."""
        return [a for _, a, s in self.elements if s == section
                and name in (a.get("class") or "").split()]


def answer(request):
    if request.index % 4 == 3:
        return plain({"error": {"message": HOSTILE}}, 503)
    return completion(1 + request.index, ttft_s=0.01, gap_s=0.002)


def dump(path, folder):
    """(DOM, what the page said on the console)."""
    done = subprocess.run(
        [BROWSER, *FLAGS, "--user-data-dir=" + os.path.join(folder, "profile"), "file://" + path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        timeout=llmd.limit(60), check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def render(path, folder):
    """On a busy machine the browser sometimes dumps before the page has run: it
    has no state then, neither ready nor wrong."""
    for _ in range(3):
        dom, console = dump(path, folder)
        if "data-state=" in dom.split("<head>", maxsplit=1)[0]:
            break
    return dom, console


class Report(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        saved, page = (os.path.join(folder.name, name) for name in ("r.json", "r.html"))
        with MockServer(answer) as server:
            server.models = [{"id": HOSTILE}]
            subprocess.run(
                [BIN, "--base-url", server.url, "--model", HOSTILE, "--in", "8", "--out", "16",
                 "--num-prompts", "12", "--disable-tqdm", "--percentile-metrics",
                 "ttft,tpot,itl,e2el", "--metric-percentiles", "25,99", "--save-result",
                 "--save-detailed", "--result-filename", saved, "--report", page],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=llmd.limit(60),
                check=False)
        with open(saved, encoding="utf-8") as file:
            cls.result = json.load(file)
        cls.dom, cls.console = render(page, folder.name)
        cls.page = Page(cls.dom)

    def test_draws_itself_without_a_word_on_the_console(self):
        self.assertIn('data-state="ready"', self.dom.split("<head>", maxsplit=1)[0])
        self.assertEqual(self.console, [])
        drawn = re.sub(r"<script.*?</script>", "", self.dom, flags=re.S)
        self.assertNotRegex(drawn, r"\b(?:NaN|undefined|Infinity)\b")
        sections = [a["id"] for tag, a, _ in self.page.elements if tag == "section"]
        self.assertEqual([s for s in sections if s != "resources"], list(SECTIONS))

    def test_hostile_texts_stay_texts(self):
        self.assertEqual([tag for tag, _, _ in self.page.elements].count("script"), 2)
        self.assertNotIn("<title>broken out", self.dom)
        self.assertIn(HOSTILE, [row[-1] for row in self.page.tables["failures"]][1])

    def test_verdict_and_failures_are_the_results(self):
        self.assertEqual((self.result["completed"], self.result["failed"]), (9, 3))
        self.assertRegex(self.dom, 'id="verdict".*<strong>3 of 12 requests failed<')
        rows = [row[:3] for row in self.page.tables["failures"][1:]]
        self.assertEqual(rows, [[f["reason"], str(f["count"]), str(f["request"])]
                                for f in self.result["loadgen"]["failures"]])

    def test_table_of_latencies_holds_the_figures_of_the_result(self):
        head, *rows = self.page.tables["latency"]
        for row in rows:
            metric = row[0].split()[0].lower()
            for name, which in COLUMNS.items():
                self.assertEqual(row[head.index(name)], "{:,.2f}".format(
                    self.result["%s_%s_ms" % (which, metric)]), (metric, which))
        self.assertEqual([row[-1] for row in rows],
                         ["9 requests", "8 requests", "%d gaps" % NUM_GAPS, "9 requests"])

    def most_in_flight(self):
        r = self.result
        changes = []
        for start, length in zip(r["start_times"], r["latencies"]):
            if length > 0:
                changes += [(start, 1), (start + length, -1)]
        return max(itertools.accumulate(step for _, step in sorted(changes)))

    def test_small_memory_is_not_nothing(self):
        [row] = [r for r in self.page.tables["resources"] if r[0] == "Memory of the server"]
        self.assertRegex(row[1], r"^0\.0[1-9]")

    def test_marks_are_as_many_as_the_requests(self):
        # each request goes up and down one step; those refused at once took no time
        steps = self.page.of("throughput", "orange")[0]["d"]
        self.assertEqual(len(re.findall("[ML]", steps)), 1 + 4 * self.result["completed"])
        self.assertIn(">at most %d in flight<" % self.most_in_flight(), self.dom)
        self.assertEqual(len(self.page.of("distributions", "orange")),
                         len(self.page.tables["latency"]) - 1)
        self.assertGreater(len(self.page.of("distributions", "bar")), 3)


if __name__ == "__main__":
    for what, program in (("program (set LOADGEN_BIN)", BIN), ("browser (set CHROMIUM)", BROWSER)):
        if program is None or shutil.which(program) is None:
            print("test_loadgen_html: skipped, no %s" % what)
            sys.exit(77)
    unittest.main()
