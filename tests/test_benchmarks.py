"""The benchmark measures what it says: its forms are right, wrong results are seen, counts are exact."""

import json
import subprocess
import sys
from dataclasses import replace

import bench_attention
import pytest
import torch
from PIL import Image

from attention_bench import course, devices, judge, measure, plot, results, screen, wording
from attention_bench.cases import CASES, Case, Problem, find_case
from attention_bench.course import Plan, obstacle
from attention_bench.forms import dense, textbook
from attention_bench.judge import Judge, Result
from attention_bench.measure import Run, interleave
from attention_bench.variants import FORMS, Variant, variants_for
from contextual_attention import contextual_attention, testing
from contextual_attention.options import PRESETS, Options
from tools.docs import speed

ROOT = results.ROOT
SMALL = Case("small", 2, (16, 20), (64, 80))
OPTIONS = {
    **PRESETS,
    "stride 2": Options(stride=2),
    "rate 1": Options(rate=1),
    "rate 3": Options(rate=3),
    "no fuse": Options(fuse=False),
    "stride 2 before": Options(stride=2, propagation="before"),
}


def problem(case=SMALL, dtype=torch.float32, preset="paper", channels=6, direction="forward"):
    return Problem(case, channels, dtype, preset, "cpu", direction)


@pytest.mark.parametrize("form", [textbook, dense])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_forms_are_the_layer(form, options):
    case = testing.Case("", (2, 5, 12, 18), mask="hole", options=options)
    inputs = testing.make_inputs(case, torch.float64)
    found = form(inputs["foreground"], inputs["background"], inputs["mask"], options)
    torch.testing.assert_close(found, contextual_attention(**inputs), rtol=1e-9, atol=1e-12)


class TestCases:
    def test_sizes(self):
        assert find_case("512x680").size == (128, 170)
        assert find_case("512x680") == CASES["1x512x680"]
        assert find_case("3x100x60").size == (25, 15)
        assert find_case("256x256-hole25").hole == (32, 32)

    @pytest.mark.parametrize("name", ["large", "512", "0x64", "4x64x64x3"])
    def test_unknown_shape(self, name):
        with pytest.raises(ValueError, match=f"--shape: expected .*1x64x64.*got '{name}'"):
            find_case(name)

    def test_arithmetic(self):
        """Per score 10 C forward and 22 C backward, against 50 C of the form with patches."""
        wide = problem(CASES["1x512x680"], channels=128)
        assert wide.pairs() == 5440**2
        assert wide.flop() == 10 * 128 * 5440**2
        assert replace(wide, direction="backward").flop() == 22 * 128 * 5440**2
        assert replace(wide, direction="both").flop() == 32 * 128 * 5440**2
        assert wide.textbook_flop() == 50 * 128 * 5440**2
        assert replace(wide, direction="both").textbook_flop() == 150 * 128 * 5440**2

    def test_holes_count_what_is_asked_for(self):
        paper = problem(CASES["paper"])
        # 64 x 64 patches attend; 66 x 66 of 128 x 128 touch a missing pixel.
        assert paper.pairs() == 64**2 * 12028
        assert paper.whole().pairs() == 128**2 * 12028

    @pytest.mark.parametrize(("percent", "share"), [(1, 0.01), (5, 0.05), (25, 0.25)])
    def test_size_of_holes(self, percent, share):
        mask = problem(CASES[f"1x512x680-hole{percent}"]).mask()
        assert mask.double().mean().item() == pytest.approx(share, rel=0.03)

    def test_inputs_are_the_same_in_every_dtype_they_are_computed_in(self):
        half = problem(dtype=torch.bfloat16)
        narrow, wide = half.inputs(), half.inputs(computed_in=torch.float64)
        assert torch.equal(narrow["foreground"].double(), wide["foreground"])


class TestJudge:
    @pytest.fixture(params=["whole", "by cells"])
    def cheap(self, request, monkeypatch):
        if request.param == "by cells":
            monkeypatch.setattr(judge, "_CHEAP", 0)

    @pytest.mark.usefixtures("cheap")
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("case", [SMALL, Case("hole", 1, (24, 28), hole=(12, 12), inside=True)], ids=str)
    def test_variants_are_right(self, case, dtype):
        asked = problem(case, dtype, direction="both")
        for variant in variants_for(asked, ["reference"], FORMS, quick=True):
            judge = Judge(variant.problem(asked))
            verdict = judge.verdict(variant, asked, Run(asked, variant).once())
            assert not verdict.wrong, f"{variant.label}: {verdict}"

    @pytest.mark.usefixtures("cheap")
    @pytest.mark.parametrize("factor", [1 + 1e-3, float("nan")])
    def test_a_wrong_output_is_seen(self, factor):
        result = Run(problem(), Variant("textbook")).once()
        verdict = Judge(problem()).verdict(Variant("textbook"), problem(), Result(result.output * factor))
        assert verdict.wrong

    def test_a_wrong_gradient_is_seen(self):
        asked = problem(direction="both")
        result = Run(asked, Variant("textbook")).once()
        foreground, background = result.gradients
        wrong = Result(result.output, (foreground, background.flip(3)))
        assert Judge(asked).verdict(Variant("textbook"), asked, wrong).wrong

    def test_a_wrong_hole_is_not_hidden_by_what_is_kept(self):
        case = Case("hole", 1, (64, 64), hole=(4, 4), inside=True)
        asked, variant = problem(case), Variant("reference")
        result = Run(asked, variant).once()
        kept = result.output == asked.inputs()["foreground"]
        off = torch.where(kept, result.output, result.output * (1 + 2e-5))
        assert Judge(asked).verdict(variant, asked, Result(off)).wrong


class TestMeasuring:
    def test_turns(self):
        """Everyone has the samples that its time allows, evenly among those of the others."""
        turns = []
        seconds = {"quick": 0.02, "middle": 0.5, "slow": 20.0, "once": 30.0}

        def run(name):
            return lambda calls: turns.append(name) or seconds[name]

        runs = {name: run(name) for name in seconds}
        samples = interleave(runs, seconds, {"once"}, 1.0, 5, lambda name: None)
        assert {name: len(taken) for name, taken in samples.items()} == {
            "quick": 50,
            "middle": 5,
            "slow": 3,  # the first of them when it was checked
            "once": 1,
        }
        assert [i for i, name in enumerate(turns) if name == "slow"] == [29, 58]

    def test_growth_is_what_is_touched(self):
        grown = devices.growth("cpu", lambda: torch.ones(16 * 2**20))
        assert grown == pytest.approx(64 * 2**20, rel=0.1)

    def test_working_memory(self):
        """The dense form holds its scores several times."""
        case = Case.of_image(256, 256)
        memory = measure.working_memory(problem(case, channels=16), Variant("dense"))
        scores = 1024**2 * 4
        assert 2 * scores < memory < 14 * scores

    @pytest.mark.parametrize("direction", ["forward", "both"])
    def test_the_kernels_need_their_workspace_and_three_times_the_inputs(self, direction):
        asked = problem(Case.of_image(512, 680), channels=64, direction=direction)
        memory = measure.working_memory(asked, Variant("cpu"))
        # More than the scratch alone, or nothing was measured.
        assert 16 * 2**20 < memory < Variant("cpu").estimated_bytes(asked)

    def test_too_large_says_what_it_would_need(self):
        huge = problem(CASES["1x2048x2048"], channels=128)
        assert obstacle(Variant("dense"), huge).startswith("would need ")
        assert obstacle(Variant("dense"), problem()) is None


class TestErrors:
    """One backend's costs the others nothing, and is told."""

    PLAN = Plan(("cpu", "reference"), ("dense",), 0.01, 30.0, True)

    @staticmethod
    def fail_from(monkeypatch, name, call):
        """The calls of a variant, from this one on, raise."""
        function, calls = Variant.function, []

        def broken(self, options):
            solve = function(self, options)

            def solved(inputs):
                calls.append(self.name)
                if self.name == name and calls.count(name) >= call:
                    raise RuntimeError("an illegal memory access\nwas encountered")
                return solve(inputs)

            return solved

        monkeypatch.setattr(Variant, "function", broken)

    @pytest.mark.parametrize("call", [1, 3], ids=["checked", "timed"])
    @pytest.mark.parametrize(("name", "wrong"), [("cpu", True), ("dense", False)])
    def test_the_others_go_on(self, monkeypatch, name, wrong, call):
        self.fail_from(monkeypatch, name, call)
        monkeypatch.setattr(devices, "gemm_side", lambda *_: 64)
        rows = {row.variant: row for row in course.measure(problem(), self.PLAN, lambda what: None)}
        failed = rows.pop(name)
        assert failed.note == "RuntimeError: an illegal memory access"
        assert failed.median is None
        assert failed.wrong == wrong
        assert all(row.median > 0 and not row.wrong for row in rows.values())

    def test_a_product_that_fails(self, monkeypatch):
        """As in a process whose CUDA context is lost: no times, and rows that say why."""

        def fail(*_):
            raise RuntimeError("the context is lost")

        monkeypatch.setattr(course, "gemm", fail)
        rows = course.measure(problem(), self.PLAN, lambda what: None)
        assert [row.note for row in rows] == 3 * ["RuntimeError: the context is lost"]

    def test_status(self, monkeypatch, tmp_path, capsys):
        self.fail_from(monkeypatch, "reference", 1)
        monkeypatch.setattr(devices, "gemm_side", lambda *_: 64)
        few = [
            "--shape",
            "1x32x32",
            "1x32x48",
            "--channels",
            "6",
            "--pass",
            "forward",
            "--quick",
            "--against",
        ]
        file = tmp_path / "results.json"
        options = ["--backend", "cpu", "reference", "--threads", "1", "--json", str(file)]
        monkeypatch.setattr("sys.argv", ["bench_attention.py", *few, *options])
        assert bench_attention.main() == 1
        rows = json.loads(file.read_text())["rows"]
        assert [(row["variant"], row["median"] is None) for row in rows] == 2 * [
            ("reference", True),
            ("cpu", False),
        ]
        assert "wrong: reference at 1x32x32" in " ".join(capsys.readouterr().out.split())


class TestReport:
    @pytest.fixture
    def rows(self):
        asked = problem(find_case("1x64x64"))
        rows = [results.Row.of(asked, Variant(name)) for name in ("textbook", "dense", "cpu")]
        for row, seconds in zip(rows, (0.3, 0.2, 0.1), strict=True):
            row.take_beside([0.01, 0.02, 0.03], 1000, [seconds] * 3)
            row.working_bytes = round(1e9 * seconds)
        results.add_ratios(rows)
        return rows

    def test_numbers(self, rows):
        last = rows[-1]
        assert last.ratio == pytest.approx(3)
        assert last.gemm_gflops == pytest.approx(100)
        assert last.gflops == pytest.approx(10 * 6 * 64**2 / 0.1 / 1e9)
        assert last.spread == 0

    def test_file(self, rows, tmp_path):
        path = tmp_path / "of" / "this.json"
        results.save(path, {"devices": {}}, rows[:2])
        results.save(path, {"devices": {}}, [replace(rows[1], median=0.25), rows[2]])
        about, loaded = results.load(path)
        assert about == {"devices": {}}
        assert [row.median for row in loaded] == [0.3, 0.25, 0.1]
        assert len(json.loads(path.read_text())["rows"]) == 3
        with pytest.raises(ValueError, match="another machine"):
            results.save(path, {"devices": {"cpu": "another"}}, rows)

    def test_picture(self, rows, tmp_path):
        path = tmp_path / "times.png"
        rows[0].median, rows[0].working_bytes, rows[0].note = None, None, "would need 21.9 GB"
        plot.plot(rows, path)
        with Image.open(path) as picture:
            assert picture.width > 500
        with pytest.raises(ValueError, match="no result of single images"):
            plot.plot([replace(row, batch=2) for row in rows], path)

    def test_tables_once_more(self, rows, tmp_path):
        """By the command, which is started by its path, from anywhere."""
        results.save(tmp_path / "r.json", {"devices": {}}, rows)
        command = [sys.executable, ROOT / "tools/docs/speed.py", "table", "r.json"]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert "64×64 · C 6 · float32 · forward · paper · cpu" in said
        line = next(line for line in said.splitlines() if line.split()[:1] == ["cpu"])
        assert line.split() == ["cpu", "100", "ms", "0", "%", "3", "3.00×", "100", "MB", "0.0", "0", "%"]

    def test_lines_without_rich(self, rows, monkeypatch, capsys):
        monkeypatch.setattr(screen, "find_spec", lambda name: None)
        plain = screen.make_screen()
        plain.say("here", "red")
        with plain.progress(2) as progress:
            progress.tell("what")
            progress.advance()
        rows[1].note = "left out"
        plain.table(wording.table(rows))
        said = capsys.readouterr().out.splitlines()
        assert said[:3] == ["here", "", "1 of 2"]
        assert said[3].startswith("64×64 · C 6 · float32 · forward")
        assert said[4].split() == ["variant", "time", "±", "n", "ratio", "memory", "GFLOP/s", "GEMM"]
        assert len({len(line) for line in said[4:8]}) == 1
        assert said[8:] == ["dense: left out", "GEMM: 100 GFLOP/s, float32, 1000³, in the same turns"]

    def test_docs(self, rows, tmp_path):
        text = speed.markdown({"devices": {"cpu": "a processor"}, "torch": "2"}, rows)
        assert "| 64×64, float32, forward | 300 ms | 200 ms |  | **100 ms** | **3.00×** |" in text
        assert "300 MB → 100 MB" in text
        path = tmp_path / "speed.md"
        path.write_text(f"a\n{speed.BEGIN}\nold\n{speed.END}\nb\n")
        speed.write_docs(text, path)
        assert path.read_text() == f"a\n{speed.BEGIN}\n{text}\n{speed.END}\nb\n"
        path.write_text("no markers\n")
        with pytest.raises(ValueError, match="expected the lines"):
            speed.write_docs(text, path)

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(7.136, "7.14 s"), (0.0852, "85.2 ms"), (0.00013, "130 µs"), (0.99999, "1.00 s")],
    )
    def test_times(self, seconds, text):
        assert wording.time_text(seconds) == text

    @pytest.mark.parametrize(("count", "text"), [(21.4e9, "21.4 GB"), (85e6, "85.0 MB"), (864e3, "864 kB")])
    def test_bytes(self, count, text):
        assert wording.bytes_text(count) == text
