"""Results as one HTML page that holds all it shows, legible on a phone; and as Markdown for an appendix."""

import base64
import html
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rtc_bench.analysis import paired_comparison
from rtc_bench.common import files, tables
from rtc_bench.evaluation import chunk_cost, run_folder
from rtc_bench.reporting import delays, figures, result_tables
from rtc_bench.strategies import base

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto; padding: 1rem; max-width: 68rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .3rem; border-top: 1px solid #ddd; padding-top: 1rem; }
p, li { max-width: 44rem; }
svg, img { max-width: 100%; height: auto; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .5rem; }
.panels svg { width: 100%; }
.large.panels { grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e5e5e5; white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; }
th, td:first-child { white-space: normal; }
th { border-bottom: 2px solid #999; vertical-align: bottom; }
@media (max-width: 40rem) { table { font-size: .78rem; } th, td { padding: .2rem .3rem; } ul { padding-left: 1.1rem; } }
label { white-space: nowrap; margin-right: .8rem; }
.quiet { color: #555; font-size: .9rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
"""

TERMS = """A policy predicts a chunk of future actions. Inference takes <i>d</i> control steps (1/30 s each), and meanwhile the
world moves; a new chunk is asked for every <i>s</i> steps, here s = max(d, 1) unless it says otherwise. A rate is the share
of episodes solved. Strategies met the same actuation and flow noise in the same episode, so differences are between pairs."""


ALL_PAIRS = "Over all (d, s) pairs that were run"


class CaptionedFilm(NamedTuple):
    """One episode under every strategy."""

    path: pathlib.Path  # GIF
    caption: str


class Report(NamedTuple):
    """What a page and an appendix show."""

    runs: run_folder.LoadedRuns
    outcomes: paired_comparison.PairedOutcomes
    baseline: str
    comparisons: Sequence[paired_comparison.Comparison]
    ranking_of_all_pairs: tables.Table | None  # where more (d, s) pairs were run than one a delay
    costs: Sequence[chunk_cost.ChunkCost]
    film: CaptionedFilm | str  # or why there is none
    needs: Mapping[str, Sequence[str]]  # strategy -> of ``strategies.base.NEEDS``
    delay_section: delays.DelaySection | None = None  # where they vary


def write(path: pathlib.Path, contents: Report) -> None:
    """The page."""
    runs, outcomes, baseline, comparisons, ranking_of_all_pairs, costs, film, needs, delay_section = contents
    curves, horizons = figures.rates_over_delay(runs.rows), figures.rates_over_horizon(runs.rows)
    single_delays = [comparison for comparison in comparisons if comparison.delay is not None]
    sentences = _sentences(single_delays)
    differences = figures.differences_over_delay(comparisons, outcomes.strategies)
    parts = [
        f"<p class=quiet>{_extent(outcomes, runs)}</p>",
        _list(sentences) if sentences else "",
        _panels([curves._replace(panels=curves.panels[:1]), differences], large=True),
        f"<p class=quiet>{curves.note}. The looks of the lines are the same in all pictures.</p>",
        f"<h2>Ranking</h2>{_ranking(result_tables.ranking(comparisons, outcomes, baseline), needs)}",
        "<p class=quiet>Mean over tasks and delays. Differences are paired, with task-stratified bootstrap intervals. "
        "P(improvement): probability that an episode ends better (solved, neither, failed) than one of the baseline.</p>",
    ]
    if single_delays:
        parts.append(
            f"<h2>Against {html.escape(baseline)}, delay by delay</h2>{_table(result_tables.comparisons_by_delay(comparisons))}"
        )
        parts.append(
            "<p class=quiet>Episodes to settle: how many a task would probably (80 %) tell the two apart, if what was seen "
            "is the truth.</p>"
        )
    if len(curves.panels) > 1:
        parts.append(f"<h2>Task by task</h2>{_panels([curves._replace(panels=curves.panels[1:])])}")
    if horizons:
        parts.append(f"<h2>Execution horizon</h2>{_panels([horizons])}")
    if ranking_of_all_pairs:
        parts.append(f"<h2>{ALL_PAIRS}</h2>{_table(ranking_of_all_pairs)}")
    parts.append(f"<h2>Smoothness</h2>{_panels([figures.boundary_changes(runs.rows)], large=True)}")
    if delay_section:
        parts += _delays(delay_section)
    if costs:
        parts.append(f"<h2>What a chunk costs</h2>{_table(result_tables.chunk_costs(costs))}")
        parts.append(
            "<p class=quiet>The strategy alone, without physics, on one device of the machine that made this page.</p>"
        )
    parts.append(f"<h2>One episode under each strategy</h2>{_film(film)}")
    rates = _table(result_tables.solve_rates(runs.rows))
    parts.append(f"<h2>All rates</h2><details><summary>show</summary>{rates}</details>")
    parts.append(f"<h2>What made this</h2>{_list([_code(line) for line in runs.sessions])}")
    title = "Solve rate over inference delay"
    text = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{TERMS}</p>{''.join(parts)}</body></html>\n"
    )
    files.write_whole(path, text.encode())


def _sentences(comparisons: Sequence[paired_comparison.Comparison]) -> list[str]:
    """One a strategy, as HTML."""
    by_strategy: dict[str, list[paired_comparison.Comparison]] = {}
    for comparison in comparisons:
        by_strategy.setdefault(comparison.strategy, []).append(comparison)
    sentences = [html.escape(result_tables.verdict_sentence(own)) for own in by_strategy.values()]
    return [sentence.replace(" = ", "&nbsp;=&nbsp;") for sentence in sentences]


def _extent(outcomes: paired_comparison.PairedOutcomes, runs: run_folder.LoadedRuns) -> str:
    tasks = f"{len(outcomes.tasks)} tasks" if len(outcomes.tasks) > 1 else html.escape(outcomes.tasks[0])
    cells = f"{len(runs.rows)} cells of {figures.episode_counts(runs.rows)} episodes"
    return f"{tasks}, {len(outcomes.strategies)} strategies, {cells}."


def _list(lines: Sequence[str]) -> str:
    """``lines`` are HTML."""
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>"


def _code(line: str) -> str:
    """Markdown's backticks as HTML."""
    pieces = [html.escape(piece) for piece in line.split("`")]
    return "".join(f"<code>{piece}</code>" if number % 2 else piece for number, piece in enumerate(pieces))


def _panels(drawings: Sequence[figures.Figure | None], *, large: bool = False) -> str:
    """All panels beside each other as far as the screen allows; the first of large ones has a legend."""
    panels = [(figure, panel) for figure in drawings if figure for panel in figure.panels]
    svgs = [
        figures.svg(figure, panel, large=large, legend=large and number == 0)
        for number, (figure, panel) in enumerate(panels)
    ]
    return f'<div class="{"large " if large else ""}panels">{"".join(svgs)}</div>'


def _ranking(table: tables.Table, needs: Mapping[str, Sequence[str]]) -> str:
    """The table; and where strategies need something, a box for each need, which shows or hides those that do."""
    kinds = [kind for kind in base.NEEDS if any(kind in own for own in needs.values())]
    if not kinds:
        return _table(table)
    numbers = {kind: number for number, kind in enumerate(kinds)}
    boxes = "".join(
        f"<label title='{html.escape(base.NEEDS[kind])}'><input type=checkbox checked id=need{number}> {kind}</label> "
        for kind, number in numbers.items()
    )
    rules = "".join(
        f"body:has(#need{number}:not(:checked)) tr.need{number} {{ display: none; }}" for number in numbers.values()
    )
    column = [", ".join(needs.get(line[0], ())) for line in table.lines]
    lines = [[*line, text] for line, text in zip(table.lines, column, strict=True)]
    classes = [" ".join(f"need{numbers[kind]}" for kind in needs.get(line[0], ())) for line in table.lines]
    shown = _table(table._replace(header=[*table.header, "needs"], lines=lines), classes)
    return f"<style>{rules}</style><p>Show those that need {boxes}</p>{shown}"


def _table(table: tables.Table, classes: Sequence[str] = ()) -> str:
    """``classes`` of the rows, for style sheets."""

    def line(texts: Sequence[str], tag: str, row_class: str = "") -> str:
        attributes = [" class=text" if column < table.lead else "" for column in range(len(texts))]
        escaped = [html.escape(text).replace("_", "_<wbr>") for text in texts]  # names may break on a phone
        html_cells = [f"<{tag}{a}>{text}</{tag}>" for a, text in zip(attributes, escaped, strict=True)]
        return f"<tr{f' class={row_class!r}' if row_class else ''}>{''.join(html_cells)}</tr>"

    pairs = itertools.zip_longest(table.lines, classes, fillvalue="")
    rows = "".join(line(texts, "td", row_class) for texts, row_class in pairs)
    return f"<div class=table><table><thead>{line(table.header, 'th')}</thead><tbody>{rows}</tbody></table></div>"


def _delays(section: delays.DelaySection) -> list[str]:
    """As HTML."""
    parts = [f"<h2>Delay as it is</h2>{_panels(section.figures, large=True)}{_table(section.table)}"]
    parts.append(
        "<p class=quiet>Means over the tasks that all of these runs have. An underrun is a control step at which the "
        "chunks have run out; a misestimate is a request that was told another delay than it met.</p>"
    )
    if section.timeline:
        parts.append(_picture(section.timeline, section.caption, "image/png"))
    return [*parts, "" if section.timeline else f"<p>{html.escape(section.caption)}</p>"]


def _picture(path: pathlib.Path, caption: str, kind: str) -> str:
    data, caption = base64.b64encode(path.read_bytes()).decode(), html.escape(caption)
    return f'<p>{caption}</p><img alt="{caption}" src="data:{kind};base64,{data}">'


def _film(film: CaptionedFilm | str) -> str:
    if isinstance(film, str):
        return f"<p>{html.escape(film)}</p>"
    return _picture(film.path, film.caption, "image/gif")
