"""Tables and figures of the comparison on real roofs, of runs as their files have them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from app.metrics.published import describe_airs, describe_rid, describe_roofline
from bench.support.figures import print_table
from bench.support.learning.runs import Spread, spread_of
from bench.support.real.runs import SCORES_KEYS

Run = Mapping[str, Any]
# Runs that differ in their seed, by what tables call them.
Results = Mapping[str, Sequence[Run]]


class Column(NamedTuple):
    """A score of a table.

    Attributes:
        metric: Its name, without the place.
        title: Its heading.
        digits: Decimals.
        factor: What it is multiplied by.
    """

    metric: str
    title: str
    digits: int
    factor: float = 1


COLUMNS: Final = (
    Column("segments/roof_iou", "roof IoU", 3),
    Column("segments/miou_no_background", "class IoU", 3),
    Column("planes/azimuth_error_deg", "planes, deg", 1),
    Column("planes/azimuth_error_median_deg", "median, deg", 1),
    Column("planes/azimuth_within_22_5_deg", "within 22.5, %", 1, 100),
    Column("planes/recall", "found, %", 1, 100),
    Column("planes/pq", "PQ", 3),
    Column("lines/ridge_f1_3px", "ridge F1", 3),
    Column("lines/hip_f1_3px", "hip F1", 3),
    Column("lines/valley_f1_3px", "valley F1", 3),
    Column("lines/eave_f1_3px", "eave F1", 3),
)
# The direction of a plane that was found, by three ways: means of the same planes.
_WAYS: Final = (
    Column("segments/azimuth_error_deg", "all pixels, deg", 1),
    Column("planes/azimuth_error_pixels_deg", "their pixels, deg", 1),
    Column("planes/azimuth_error_votes_deg", "the pixels' vote, deg", 1),
    Column("planes/azimuth_error_deg", "with edges, deg", 1),
)
_TITLES: Final = {
    "rid": "RID",
    "invercargill": "Invercargill",
    "gables": "German gables",
    "enschede": "Enschede",
}


def print_tables(results: Results) -> None:
    """All tables of which something was measured.

    Args:
        results: Runs by label.
    """
    _print_scores(results)
    _print_directions(results)
    _print_left_out(results)
    _print_published(results)


def find_places(runs: Iterable[Run]) -> list[str]:
    """The places on which runs were scored, in their order."""
    names = (name.partition("/")[0] for run in runs for name in run["scores"])
    return list(dict.fromkeys(names))


def _rows_of(results: Results) -> dict[str, list[Run]]:
    """Runs by what a row calls them, with the scores of one way of asking each."""
    rows = {}
    for label, runs in results.items():
        for poses, key in SCORES_KEYS.items():
            scored = [{**run, "scores": run[key]} for run in runs if key in run]
            if scored:
                rows[label if poses == 1 else f"{label}, {poses} poses"] = scored
    return rows


def _cells(runs: Sequence[Run], place: str, columns: Sequence[Column]) -> list[str]:
    cells = []
    for column in columns:
        spread = spread_of(runs, f"{place}/{column.metric}")
        scaled = spread and Spread([column.factor * value for value in spread.values])
        cells.append("-" if scaled is None else scaled.cell(column.digits))
    return cells


def _print_scores(results: Results) -> None:
    rows = _rows_of(results)
    table = [
        [_TITLES.get(place, place), label, str(len(runs)), *_cells(runs, place, COLUMNS)]
        for place in find_places(run for runs in rows.values() for run in runs)
        for label, runs in rows.items()
    ]
    print("\nphotos that nothing was trained on; 8 poses: asked in all turns and flips")
    print_table(["photos", "model", "seeds", *(column.title for column in COLUMNS)], table)


def _print_directions(results: Results) -> None:
    rows = _rows_of(results)
    table = []
    for place in find_places(run for runs in rows.values() for run in runs):
        for label, runs in rows.items():
            cells = _cells(runs, place, _WAYS)
            if cells[-1] != "-":
                table.append([_TITLES.get(place, place), label, *cells])
    print("\nmean azimuth error of planes that were found: by pixels alone, and as shapes")
    print_table(["photos", "model", *(way.title for way in _WAYS)], table)


def _print_left_out(results: Results) -> None:
    """A place scored by models that trained on it, and by models that have never seen it."""
    rows, table = _rows_of(results), []
    for label, runs in rows.items():
        place = runs[0].get("without", "")
        if not place:
            continue
        full = label.replace(f"-without-{place}", "")
        for known, name in (("all places", full), ("all but this", label)):
            if name in rows:
                about = [_TITLES[place], full, known, str(len(rows[name]))]
                table.append([*about, *_cells(rows[name], place, COLUMNS)])
    if table:
        print("\nplaces left out of training")
        header = ["photos", "model", "trained on", "seeds"]
        print_table([*header, *(column.title for column in COLUMNS)], table)


def _print_published(results: Results) -> None:
    """Scores by the protocols that others publish theirs by, one seed each."""
    lines = []
    for label, runs in _rows_of(results).items():
        scores = runs[0]["scores"]

        def of(place: str, scores: Mapping[str, float] = scores) -> dict[str, float]:
            start = f"{place}/"
            return {
                name.removeprefix(start): value
                for name, value in scores.items()
                if name.startswith(start)
            }

        for place, words in (
            ("rid", describe_rid(of("rid"))),
            ("enschede", describe_airs(of("enschede"))),
            ("invercargill", describe_roofline(of("invercargill"))),
        ):
            if words is not None:
                lines.append(f"{label}, seed {runs[0]['seed']}: {_TITLES[place]}: {words}")
    if lines:
        print(
            "\nby published protocols; Enschede as AIRS, and lines as Roofline's, of other photos"
        )
        for line in lines:
            print(line)
