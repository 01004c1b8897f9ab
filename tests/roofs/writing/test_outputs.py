"""All files of a photo: their names, equal bytes, and a disk that fills up."""

from pathlib import Path

import pytest

from app.roofs.model import Roofs
from app.roofs.writing.outputs import FORMATS, Format, write_outputs
from tests.support.roof_outputs import ORIGIN, make_roofs, make_view


@pytest.mark.parametrize(
    ("crs", "formats", "names"),
    [
        ("EPSG:25832", ("gpkg",), ["roofs.gpkg", "takeoff.json", "takeoff.html"]),
        (
            "EPSG:25832",
            FORMATS,
            ["roofs.gpkg", "buildings.geojson", "planes.geojson", "lines.geojson", "takeoff.json",
             "takeoff.html"],
        ),
        (None, ("geojson",), ["roofs_pixels.json", "takeoff.json", "takeoff.html"]),
    ],
)  # fmt: skip
def test_files_and_their_names(
    crs: str | None, formats: tuple[Format, ...], names: list[str], tmp_path: Path
) -> None:
    roofs = make_roofs(photo="a.b", crs=crs)
    paths = write_outputs(tmp_path, roofs, make_view(crs), ORIGIN, formats)
    assert [path.name for path in paths] == [f"a.b_{name}" for name in names]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in paths}


def test_written_again_every_file_is_the_same(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
        write_outputs(folder, make_roofs(), make_view(), ORIGIN, FORMATS)
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_hostile_names_stay_in_the_folder(tmp_path: Path) -> None:
    roofs: Roofs = make_roofs(photo="<img src=x onerror=alert(1)>")
    paths = write_outputs(tmp_path, roofs, make_view(), ORIGIN, FORMATS)
    assert {path.parent for path in paths} == {tmp_path}


def test_a_folder_that_is_gone_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_outputs(tmp_path / "gone", make_roofs(), make_view(), ORIGIN)
