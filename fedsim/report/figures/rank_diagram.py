"""A critical-difference diagram (Demsar 2006): average ranks, and bars over methods that cannot be told apart."""

from __future__ import annotations

from matplotlib.figure import Figure

from fedsim.report.comparisons import Ranks


def rank_figure(ranks: Ranks) -> Figure:
    """The figure: the best method on the left."""
    order = sorted(ranks.average, key=lambda method: ranks.average[method])
    count, groups = len(order), ranks.groups()
    left_half = order[: (count + 1) // 2]
    depth = max(len(left_half), count - len(left_half))
    top = 0.22 * len(groups) + 0.3
    longest = max(map(len, order))
    figure = Figure(figsize=(5.0 + 0.12 * longest, 0.24 * depth + 0.22 * len(groups) + 1.0))
    panel = figure.subplots()
    panel.set_axis_off()
    panel.set_xlim(1 - 0.05 * count, count + 0.05 * count)
    panel.set_ylim(-(top + 0.3 * depth + 0.2), 1.1)
    panel.plot([1, count], [0, 0], color="black", linewidth=0.8)
    for rank in range(1, count + 1):
        panel.plot([rank, rank], [0, 0.12], color="black", linewidth=0.8)
        panel.text(rank, 0.18, str(rank), ha="center", va="bottom")
    for level, group in enumerate(groups):
        y = -0.2 - 0.22 * level
        ends = [ranks.average[group[0]] - 0.03, ranks.average[group[-1]] + 0.03]
        panel.plot(ends, [y, y], color="#555555", linewidth=3, solid_capstyle="butt")
    for place, method in enumerate(order):
        on_left = method in left_half
        level = place if on_left else count - 1 - place
        height, average = -(top + 0.3 * level), ranks.average[method]
        edge = 1 - 0.03 * count if on_left else count + 0.03 * count
        panel.plot([average, average, edge], [0, height, height], color="black", linewidth=0.6)
        text, gap = f"{method}  {average:.2f}", 0.01 * count
        panel.text(
            edge - gap if on_left else edge + gap,
            height,
            text,
            ha="right" if on_left else "left",
            va="center",
            clip_on=False,
        )
    panel.plot([1, 1 + ranks.critical_difference], [0.8, 0.8], color="black", linewidth=1.2, marker="|")
    panel.text(1, 0.9, f"critical difference {ranks.critical_difference:.2f}", va="bottom")
    return figure
