"""Tables, pictures and the page of a run."""

import html.parser

import example_runs
import pytest

from rtc_bench.analysis import paired_comparison
from rtc_bench.common import errors, plotting
from rtc_bench.evaluation import results, run_folder
from rtc_bench.reporting import figures, report, settings


@pytest.mark.parametrize(
    "rows", [example_runs.ROWS, example_runs.ROWS[:3], example_runs.ROWS[:1]], ids=["tasks", "one task", "one cell"]
)
def test_a_run_folder_gets_its_picture_and_table(tmp_path, rows):
    report.write_summary(run_folder.load([example_runs.write(tmp_path / "run", rows)]), tmp_path / "out")
    assert (tmp_path / "out" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "curves.png"]


class Page(html.parser.HTMLParser):
    """What a browser would fetch, which tags are open at the end, and the text."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.open, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.fetched += [attributes[name] for name in ("src", "href", "xlink:href") if name in attributes]
        if tag not in ("meta", "img", "br", "wbr", "use", "path", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("use", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_of_a_run_is_a_page_that_needs_nothing_else(tmp_path, capsys):
    folder = report.report(settings.ReportConfig(run=str(example_runs.write(tmp_path / "run"))))
    assert folder == tmp_path / "run" / "report"
    names = {path.name for path in folder.iterdir()}
    pictures = {f"{name}.{kind}" for name in ("curves", "differences", "smoothness") for kind in ("png", "pdf")}
    assert names == {"index.html", "results.md", "comparisons.csv", *pictures}
    page = Page((folder / "index.html").read_text())
    assert not page.open
    assert all(link.startswith(("data:", "#")) for link in page.fetched)
    text = " ".join(page.text).replace("\N{NO-BREAK SPACE}", " ")
    assert "rtc is ahead of naive at d = 0 (+0.200), d = 2 (+0.200), d = 4 (+0.200)." in text
    assert "there is no film: " in text  # the policies of this run never existed, and the page says so
    assert all(task in text for task in ("mean over tasks", "a", "b"))
    assert "| rtc | 0.700 | +0.200 [" in (folder / "results.md").read_text()
    assert "ahead" in (folder / "comparisons.csv").read_text()
    assert "index.html" in capsys.readouterr().out


def test_what_a_strategy_is_called_cannot_break_the_page(tmp_path):
    rows = [example_runs.row("a", name, 0) for name in ("naive", "<b>&mine")]
    folder = report.report(settings.ReportConfig(run=str(example_runs.write(tmp_path / "run", rows))))
    page = Page((folder / "index.html").read_text())
    assert not page.open
    assert "<b>&mine" in page.text


def test_runs_are_merged(tmp_path):
    mine = [example_runs.row(task, "mine", delay, rate=0.95) for task in ("a", "b") for delay in (0, 2, 4)]
    runs = (
        str(example_runs.write(tmp_path / "one")),
        str(example_runs.write(tmp_path / "two", mine, strategy=["mine"])),
    )
    folder = report.report(settings.ReportConfig(run=runs, out=str(tmp_path / "both"), baseline="rtc"))
    lines = (folder / "results.md").read_text().splitlines()
    assert [line.split(" | ")[1] for line in lines if line.startswith("| mean")] == ["naive", "rtc", "mine"]
    assert any(line.startswith("| mine | 0.950 | +0.250 [") for line in lines)


def test_of_a_cell_that_two_runs_hold_the_one_with_more_episodes_counts(tmp_path):
    runs = [
        example_runs.write(tmp_path / str(count), [example_runs.row("a", "rtc", 0, episodes=count)])
        for count in (50, 200, 100)
    ]
    (row,) = run_folder.load(runs).rows
    assert row.episodes == 200
    assert len(run_folder.load(runs).episodes[row.cell]["solved"]) == 200


@pytest.mark.parametrize(
    ("other", "answer"),
    [
        ({"noise_std": 0.2}, "noise_std=0.1, .*noise_std=0.2"),
        ({"identity": {"policy a": "z"}}, "policy a=x, .*policy a=z"),
        ({"options": {"rtc": {"max_guidance_weight": 1}}}, r"options.rtc=None, .*options.rtc=\{"),
        ({"strategy": "rtc", "options": {"rtc": {"schedule": "hard"}}}, r"options.rtc=None, .*options.rtc=\{"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(tmp_path, other, answer):
    with pytest.raises(errors.ConfigError, match=rf"one has {answer}.*only runs that agree"):
        run_folder.load([example_runs.write(tmp_path / "one"), example_runs.write(tmp_path / "two", **other)])


def test_foreign_strategies_with_other_options_are_refused(tmp_path):
    runs = [
        example_runs.write(
            tmp_path / str(steps), strategy=f"some/file{steps}.py:Mine", options={"Mine": {"steps": steps}}
        )
        for steps in (1, 5)
    ]
    with pytest.raises(errors.ConfigError, match=r"options\.Mine="):
        run_folder.load(runs)


def test_the_horizon_is_drawn_where_several_were_run():
    assert figures.rates_over_horizon(example_runs.ROWS) is None
    rows = [example_runs.row("a", "rtc", d, s, rate=s / 10) for d in range(3) for s in range(max(d, 1), 9 - d)]
    figure = figures.rates_over_horizon(rows)
    assert figure.x_label.endswith("(at d = 1)")
    assert [point[0] for point in figure.panels[0].curves["rtc"]] == [1, 2, 3, 4, 5, 6, 7]
    only = [row for row in rows if row.delay == 0] + [example_runs.row("a", "rtc", d) for d in (1, 2)]
    assert figures.rates_over_horizon(only).x_label.endswith("(at d = 0)")
    assert figures.svg(figure, figure.panels[0], large=False, legend=True).startswith("<svg ")


def crowd(count, delays=(0, 1)):
    """Rows of many strategies with long names."""
    names = ["temporal_ensembling", *(f"strategy_of_mine_{number:02d}" for number in range(1, count))]
    return [example_runs.row(task, name, delay) for task in ("a", "b") for name in names for delay in delays]


@pytest.mark.parametrize("count", [1, 5, 8, 9, 18, 24])
def test_legends_lie_within_the_picture_and_beside_the_panels(count, tmp_path, monkeypatch):
    rows = crowd(count)
    for figure in (
        figures.rates_over_delay(rows),
        figures.rates_over_delay(rows[: len(rows) // 2]),
        figures.boundary_changes(rows),
    ):
        canvases = []
        monkeypatch.setattr(plotting, "save", lambda canvas, *_, canvases=canvases: canvases.append(canvas))
        figures.save(figure, tmp_path / "picture.png")
        (canvas,) = canvases
        canvas.canvas.draw()
        (legend,) = canvas.legends or [canvas.axes[0].get_legend()]
        box, panels = legend.get_window_extent(), [axis.get_window_extent() for axis in canvas.axes]
        assert len(legend.get_texts()) == count
        assert min(box.x0, box.y0, canvas.bbox.x1 - box.x1, canvas.bbox.y1 - box.y1) >= 0
        assert not any(box.overlaps(panel) for panel in panels)
        assert min(panel.height for panel in panels) > 150  # of 100 dots an inch
        plotting.close(canvas)


def test_strategies_with_one_horizon_are_left_out_of_the_picture_over_horizons():
    rows = [example_runs.row("a", "naive", 1), *(example_runs.row("a", "rtc", 1, s) for s in (1, 2, 3))]
    figure = figures.rates_over_horizon(rows)
    assert figure.left_out == {"naive"}
    assert figure.note.endswith("; 1 strategies that were run at one horizon only are left out")
    svg = figures.svg(figure, figure.panels[0], large=True, legend=True)
    assert ">rtc</text>" in svg
    assert ">naive</text>" not in svg
    assert plotting.style(1)[0].lower() in svg  # the looks that it has in other pictures


@pytest.mark.parametrize(
    ("text", "answer"), [(None, r"no results\.csv"), (",".join(results.COLUMNS) + "\n", "no rows yet")]
)
def test_a_folder_without_results_is_refused(tmp_path, text, answer):
    if text is not None:
        run_folder.RunFolder(tmp_path, example_runs.SETTINGS, example_runs.IDENTITY)
        (tmp_path / "results.csv").write_text(text)
    with pytest.raises(errors.ConfigError, match=answer):
        report.report(settings.ReportConfig(run=str(tmp_path)))


def test_a_cell_without_episodes_is_refused(tmp_path):
    example_runs.write(tmp_path)
    (tmp_path / "episodes" / "b.parquet").unlink()
    with pytest.raises(errors.ConfigError, match=r"'b', 'naive', 0, 1\) lacks its episodes; run the same sweep again"):
        report.report(settings.ReportConfig(run=str(tmp_path)))


def test_differences_look_as_their_strategies_do(tmp_path):
    outcomes = paired_comparison.PairedOutcomes(run_folder.load([example_runs.write(tmp_path)]))
    comparisons = paired_comparison.against_baseline(outcomes, "rtc")
    (panel,) = figures.differences_over_delay(comparisons, outcomes.strategies).panels
    assert list(panel.curves) == ["naive", "rtc"]  # a line's looks come from its place
    assert [point[:2] for point in panel.curves["rtc"]] == [(0, 0.0), (2, 0.0), (4, 0.0)]
    assert [point[0] for point in panel.curves["naive"]] == [0, 2, 4]
    assert all(point[1] == pytest.approx(-0.2) for point in panel.curves["naive"])
    assert figures.differences_over_delay([], outcomes.strategies) is None


def test_where_several_horizons_were_run_they_are_all_ranked(tmp_path):
    pairs = [(d, s) for d in (0, 1) for s in (1, 2)]
    rows = [
        example_runs.row("a", name, d, s, rate=0.5 + 0.1 * (name == "rtc") * s)
        for name in ("naive", "rtc")
        for d, s in pairs
    ]
    folder = report.report(settings.ReportConfig(run=str(example_runs.write(tmp_path, rows))))
    _, _, below = (folder / "results.md").read_text().partition("## Over all (d, s) pairs that were run")
    assert "| rtc | 0.650 | +0.150 [" in below  # 0.6 at s = 1, 0.7 at s = 2
    assert "Over all (d, s) pairs that were run" in (folder / "index.html").read_text()


def test_a_strategy_that_was_not_run_everywhere_is_named_all_the_same(tmp_path):
    rows = [*example_runs.ROWS, example_runs.row("a", "mine", 0, rate=0.99)]
    folder = report.report(settings.ReportConfig(run=str(example_runs.write(tmp_path, rows))))
    assert "| mine |  |  |  | not run everywhere |" in (folder / "results.md").read_text()
    legend, _, _ = (folder / "index.html").read_text().partition("Ranking")
    assert ">mine</text>" in legend  # of the mean, in which it has no curve; it has one in a task's panel


def test_a_report_of_one_strategy_compares_nothing(tmp_path, capsys):
    folder = report.report(
        settings.ReportConfig(run=str(example_runs.write(tmp_path, [example_runs.row("a", "rtc", 0)])))
    )
    text = (folder / "index.html").read_text()
    assert "delay by delay" not in text
    assert "<ul></ul>" not in text
    assert "comparisons.csv" not in capsys.readouterr().out


def test_a_strategy_that_has_changed_since_is_not_filmed(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from rtc_bench.strategies.naive import Naive\n\n\nclass Mine(Naive):\n    pass\n")
    run = example_runs.write(
        tmp_path / "run", [example_runs.row("a", "Mine", 0)], {"strategy Mine": "old"}, strategy=[f"{file}:Mine"]
    )
    page = (report.report(settings.ReportConfig(run=str(run))) / "index.html").read_text()
    assert "strategy Mine is not what was run any more" in page
