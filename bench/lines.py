"""How well line targets derived from RID's masks agree with RID's vector lines, and their cost.

    python -m bench.lines [--json FILE]

Needs the sample of RID with its vector tables beside the repository; ends without it. Precision and
recall are those of pixels of centre lines, right within 3 px (0.3 m); true lines where the target
says unknown count as not found. One thread.
"""

import time
from collections.abc import Mapping

import cv2

from app.base.logs import ignore_expected_warnings
from app.data.lines import lines_from_segments
from app.data.rid.dataset import RidDataset
from app.data.sample import Sample
from bench.support.environment import REAL_DATA, describe_conditions
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.vector_lines import TRUE_KINDS, VECTOR_DIR, Agreement, read_vector_lines

_TARGETS = (
    Target("ridge_precision", ">=", 0.90),
    Target("ridge_recall", ">=", 0.80),
    # Part of the 50 ms that a core may take to read, derive and augment a sample.
    Target("derive_ms", "<=", 10),
)
_NUM_TIMED_PASSES = 3


def _agreements(samples: Mapping[str, Sample]) -> dict[str, Agreement]:
    """The agreement by kind, and that of gutters alone, which were labelled as such."""
    agreements = {kind: Agreement() for kind in (*TRUE_KINDS, "gutter")}
    for sample_id, sample in samples.items():
        path = VECTOR_DIR / f"{sample_id}.json"
        lines = sample["lines"].numpy()
        for kind, (channel, true_kinds) in TRUE_KINDS.items():
            agreements[kind].add(lines[channel], read_vector_lines(path, true_kinds))
        agreements["gutter"].add(lines[0], read_vector_lines(path, ("eave",)))
    return agreements


def _time_ms(dataset: RidDataset, samples: Mapping[str, Sample]) -> dict[str, float]:
    """CPU time of a sample in the best pass: deriving its lines, and all of its reading."""
    derive_s, read_s = [], []
    for _ in range(_NUM_TIMED_PASSES):
        start_s = time.process_time()
        for sample in samples.values():
            lines_from_segments(sample["segments"].numpy(), sample["gsd_m"])
        derive_s.append(time.process_time() - start_s)
        start_s = time.process_time()
        for index in range(len(dataset)):
            dataset[index]
        read_s.append(time.process_time() - start_s)
    num_samples = len(samples)
    return {
        "derive_ms": 1e3 * min(derive_s) / num_samples,
        "read_and_derive_ms": 1e3 * min(read_s) / num_samples,
    }


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    options = parser.parse_args()
    if not VECTOR_DIR.is_dir():
        print("lines: skipped: there is no sample of RID with vector lines beside the repository")
        return
    cv2.setNumThreads(1)
    ignore_expected_warnings()
    print(describe_conditions())
    dataset = RidDataset(REAL_DATA, "all")
    samples = {dataset.sample_ids[index]: dataset[index] for index in range(len(dataset))}
    agreements = _agreements(samples)
    rows = [
        [kind, f"{a.num_true}", f"{a.precision:.3f}", f"{a.recall:.3f}", f"{a.unknown:.3f}"]
        for kind, a in agreements.items()
    ]
    print_table(["kind", "true px", "precision", "recall", "unknown"], rows)
    figures = _time_ms(dataset, samples)
    print(
        f"a sample of 512 px: {figures['derive_ms']:.1f} ms to derive its lines, "
        f"{figures['read_and_derive_ms']:.1f} ms with reading\n"
    )
    for kind, agreement in agreements.items():
        figures[f"{kind}_precision"] = agreement.precision
        figures[f"{kind}_recall"] = agreement.recall
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
