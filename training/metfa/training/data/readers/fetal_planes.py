"""FETAL_PLANES_DB as it is published: a folder of PNGs, and a table of their planes, patients, machines and split.

Burgos-Artizzu et al., *Evaluation of deep convolutional neural networks for automatic classification of common
maternal fetal ultrasound planes*, Scientific Reports 2020; https://zenodo.org/records/3904280.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from metfa.runtime.errors import DataError

from .files import Files
from .specification import is_there
from .table import matching, read_table

if TYPE_CHECKING:
    from ..listing import Listing
    from .specification import Specification

TABLE = "FETAL_PLANES_DB_data.csv"
_COLUMNS = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine", "Train")
_FILTERS = {"machine": "US_Machine", "operator": "Operator", "plane": "Plane", "brain-plane": "Brain_plane"}
_LABELS = {"plane": "Plane", "brain-plane": "Brain_plane"}


def is_fetal_planes(path: Path) -> bool:
    """Return whether a path is the root of the published data set, or its table."""
    return path.name == TABLE or is_there(path / TABLE)


def list_fetal_planes(specification: Specification) -> Listing:
    """List the images of the data set, in the order of its table.

    ``machine=Voluson E6`` keeps those of one machine; so do ``operator``, ``plane`` and ``brain-plane``. The label is
    the plane, with ``label=brain-plane`` the plane of the brain. The published split is kept, and the patients too.

    Raises:
        DataError: this is not the data set, or an option fits none of it.
        SourceError: the table cannot be read.
    """
    path = Path(specification.path)
    root = path.parent if path.name == TABLE else path
    specification.refuse_options("label", *_FILTERS)
    if not is_there(root / TABLE):
        raise DataError(
            expected=f"{TABLE} of the published data set in {root}",
            received="a folder without it" if is_there(root) else "nothing",
            remedy="name the folder that was unpacked, which holds it and Images/",
        )
    column = _label_column(specification)
    filters = {_FILTERS[option]: values for option, values in specification.options.items() if option != "label"}
    files = Files()
    for number, row in matching(specification.name, read_table(root / TABLE, _COLUMNS), filters):
        image = root / "Images" / f"{row['Image_name']}.png"
        if row["Train"] not in {"0", "1"}:
            files.skip(f"{TABLE}, row {number}", "has neither 0 nor 1 in the column Train")
        else:
            files.add(
                image,
                label=row[column] or None,
                split="train" if row["Train"] == "1" else "test",
                patient=row["Patient_num"] or None,
            )
    return files.listing(specification.name)


def _label_column(specification: Specification) -> str:
    chosen = specification.options.get("label", frozenset({"plane"}))
    for label, column in _LABELS.items():
        if chosen == {label}:
            return column
    raise DataError(
        expected=f"label={' or label='.join([*_LABELS, 'none'])} in {specification.name}",
        received=" and ".join(sorted(map(repr, chosen))),
        remedy="correct it or leave it out",
    )
