"""All damaged datasets, and the good ones they are made from."""

from tests.support import (
    corpus_airs,
    corpus_own,
    corpus_own_coco,
    corpus_own_geojson,
    corpus_own_gpkg,
    corpus_rid,
    corpus_roofline,
)

GOOD_TREES = {
    "rid": corpus_rid.write_good_rid,
    "roofline": corpus_roofline.write_good_roofline,
    "airs": corpus_airs.write_good_airs,
    "own": corpus_own.write_good_own,
}
ALL_IDS = {
    "rid": corpus_rid.ALL_IDS,
    "roofline": corpus_roofline.ALL_IDS,
    "airs": corpus_airs.ALL_IDS,
    "own": corpus_own.ALL_IDS,
}
VARIANTS = (
    *corpus_rid.VARIANTS,
    *corpus_roofline.VARIANTS,
    *corpus_airs.VARIANTS,
    *corpus_own.VARIANTS,
    *corpus_own_gpkg.VARIANTS,
    *corpus_own_geojson.VARIANTS,
    *corpus_own_coco.VARIANTS,
)
