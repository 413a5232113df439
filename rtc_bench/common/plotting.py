"""What all pictures share: a grid of panels, colours and saving. Matplotlib is imported when one is drawn."""

import io
import pathlib
from typing import Any

Dash = str | tuple[int, tuple[int, ...]]  # as matplotlib takes it
LONG: Dash = (0, (7, 2))
DOTTED_TWICE: Dash = (0, (3, 1, 1, 1, 1, 1))

# Okabe-Ito, legible to colour-blind eyes, then four more; markers and dashes carry the difference in grey. No two lines agree
# in two of colour (or one near it), marker and dash.
STYLES: tuple[tuple[str, str, Dash], ...] = (
    ("#0072B2", "o", "-"),
    ("#E69F00", "s", "--"),
    ("#009E73", "^", "-."),
    ("#D55E00", "D", ":"),
    ("#CC79A7", "v", "-"),
    ("#56B4E9", "P", "--"),
    ("#000000", "X", "-."),
    ("#808080", "*", ":"),
    ("#882255", "<", LONG),
    ("#7A5C00", ">", DOTTED_TWICE),
    ("#5D3A9B", "p", "-"),
    ("#8FBC3A", "d", "--"),
    ("#0072B2", "s", "-."),
    ("#E69F00", "^", LONG),
    ("#009E73", "D", LONG),
    ("#D55E00", "v", DOTTED_TWICE),
    ("#CC79A7", "X", "--"),
    ("#56B4E9", "X", ":"),
    ("#000000", "<", ":"),
    ("#808080", ">", LONG),
    ("#882255", "p", DOTTED_TWICE),
    ("#7A5C00", "d", "-"),
    ("#5D3A9B", "o", "--"),
    ("#8FBC3A", "o", "-."),
)


def style(number: int) -> tuple[str, str, Dash]:
    """Colour, marker and dash of the line with this number."""
    return STYLES[number % len(STYLES)]


def shade(number: int, count: int) -> tuple[float, float, float, float]:
    """The colour of one of ``count`` ordered things, light to dark."""
    import matplotlib

    return matplotlib.colormaps["viridis_r"](0.1 + 0.9 * number / max(count - 1, 1))


def panels(
    titles: list[str],
    *,
    width: float,
    height: float,
    head: float = 0.0,
    y_label: str = "solve rate",
    percent: bool = True,
    sharey: bool = True,
    **options,
) -> tuple[Any, list[Any]]:
    """A figure and an axis a title, up to four beside each other; sizes in inches, ``head`` is left free above.

    ``percent``: the vertical axes are rates.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import PercentFormatter

    columns = min(4, len(titles))
    rows = -(-len(titles) // columns)
    size = (width * columns, height * rows + head)
    figure, axes = pyplot.subplots(rows, columns, figsize=size, sharey=sharey, squeeze=False, **options)
    visible = list(axes.flat)[: len(titles)]
    for axis, title in zip(visible, titles, strict=True):
        axis.set_title(title, fontsize=10)
        axis.grid(alpha=0.25)
        if percent:
            axis.set_ylim(-0.02, 1.02)
            axis.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axis in list(axes.flat)[len(titles) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel(y_label)
    return figure, visible


def label_x(axes: list[Any], text: str) -> None:
    """Label the horizontal axis of the lowest panel of each column."""
    for axis in axes[-min(4, len(axes)) :]:
        axis.set_xlabel(text)
        axis.tick_params(labelbottom=True)


def save(figure: Any, *paths: pathlib.Path) -> None:
    """Write the picture in each file's format, whole or not at all, and close it."""
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".part{path.suffix}")
            try:
                figure.savefig(temporary, dpi=150)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    finally:
        close(figure)


def svg(figure: Any) -> str:
    """The picture as an SVG element whose letters stay text, and close it."""
    import matplotlib

    text = io.StringIO()
    try:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "rtc_bench"}):
            figure.savefig(text, format="svg", metadata={"Date": None})
    finally:
        close(figure)
    return "".join(text.getvalue().partition("<svg ")[1:])


def close(figure: Any) -> None:
    """Forget a figure that is drawn."""
    from matplotlib import pyplot

    pyplot.close(figure)
