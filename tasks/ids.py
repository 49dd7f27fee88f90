"""Names of series as they are written -> one id for each series, and words on what was written in several ways.

The blanks around an id are no part of it, and a whole number is the same id as an integer, a float or a text.
Those that differ in upper case, Unicode form or leading zeros stay apart, with a word: only the user knows better.
"""

from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import normalize

import polars as pl

from tasks.clock import Clock
from tasks.terminal import counted

# blanks that no one sees at the end of a word; line breaks are none of them, as an id never holds one
BLANKS = "".join(chr(c) for c in (0x20, 0x09, 0xA0, 0x1680, *range(0x2000, 0x200C), 0x200E, 0x200F, 0x202F, 0x205F))
BLANKS += "".join(chr(c) for c in (0x2060, 0x3000, 0xFEFF))
WHOLE = r"^(0|-?[1-9][0-9]*)\.0+$"  # an integer that was written as a float
EXACT: dict[type[pl.DataType], int] = {
    pl.Float64: 2**53,
    pl.Float32: 2**24,
    pl.Float16: 2**11,
}  # from here on several integers share one float


class Part(NamedTuple):
    """What was read from one file, object or query."""

    rows: pl.DataFrame  # unique_id, ds, y, perhaps label
    ids: pl.DataFrame  # text (as written), unique_id, kind (text or number): a line for each way of writing
    clock: Clock = Clock(local=True)  # what its times were written in
    notes: tuple[str, ...] = ()  # what else a person has to know of it


def spell(written: pl.Series) -> pl.DataFrame:
    """Ids as they were read -> text (as written), unique_id, kind; a line for each, null for what is no name."""
    text = written.unique().cast(pl.String).rename("text")
    clean = text.str.strip_chars(BLANKS)
    clean = clean.set(clean == "", None)
    kind = "number" if written.dtype.is_numeric() else "text"
    if written.dtype.is_float():
        number = text.cast(pl.Float64)
        whole = number.is_finite() & (number == number.round())
        integer = number.cast(pl.Int64, strict=False).cast(pl.String)
        clean = integer.zip_with(whole.fill_null(False), clean).set(~number.is_finite(), None)
    elif (clean.str.contains(WHOLE) | clean.is_null()).all():  # a column of floats, written as text or as decimals
        clean = clean.str.replace(WHOLE, "$1")
    return pl.DataFrame({"text": text, "unique_id": clean}).with_columns(kind=pl.lit(kind))


def renamed(rows: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """Rows whose unique_id is as it was written, as text -> with the ids that `ids` (text, unique_id) has for them."""
    other = ids.filter(pl.col("text").ne_missing(pl.col("unique_id")))
    if other.is_empty():
        return rows
    return rows.with_columns(pl.col("unique_id").replace(other["text"], other["unique_id"]))


def joined(parts: Sequence[Part]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The rows of all parts, `1.0` of one renamed where another holds `1`; and what to say of their ids."""
    ids = pl.concat([part.ids for part in parts]).unique()
    integer = pl.col("unique_id").str.replace(WHOLE, "$1")
    ids = ids.with_columns(integer=integer).with_columns(
        merged=pl.when(pl.col("unique_id").n_unique().over("integer") > 1).then("integer").otherwise("unique_id")
    )
    moved = ids.select(text="unique_id", unique_id="merged").unique()
    rows = renamed(pl.concat([part.rows for part in parts]), moved)
    spelled = ids.select("text", "kind", unique_id="merged")
    return rows, (*spelling_notes(spelled), *twin_notes(spelled["unique_id"].unique()))


def spelling_notes(ids: pl.DataFrame) -> list[str]:
    """Words on ids that were written in several ways, and on those that are read otherwise than they are written."""
    ways = (
        ids.sort("unique_id", "text", "kind")
        .group_by("unique_id", maintain_order=True)
        .agg(pl.col("text").unique(maintain_order=True), kinds=pl.col("kind").n_unique())
        .with_columns(several=pl.col("text").list.len() > 1)
    )
    notes = []
    several = ways.filter((pl.col("kinds") > 1) | pl.col("several")).sort(
        "several", descending=True, maintain_order=True
    )
    if several.height:
        name, texts, _, different = several.row(0)
        example = f"{texts[0]!r} and {texts[1]!r}" if different else f"the text {name!r} and the number {name}"
        ending = "is one series" if several.height == 1 else "are one series each"
        notes.append(f"{counted(several.height, 'id')} in several ways of writing {ending}, e.g. {example}")
    read = ways.filter(~pl.col("several") & (pl.col("text").list.first() != pl.col("unique_id")))
    if read.height:
        name, (text,), *_ = read.row(0)
        how = "without the blanks around" if text.strip(BLANKS) == name else "as whole numbers"
        notes.append(f"{counted(read.height, 'id')} read {how}, e.g. {text!r} as {name!r}")
    return notes


def twin_notes(names: pl.Series) -> list[str]:
    """Words on ids that a reader takes for one: they differ in upper case, Unicode form, blanks or leading zeros."""
    seen = names.str.normalize("NFKC").str.replace_all(r"\p{Cf}", "").str.to_lowercase()
    seen = seen.str.replace_all(r"\s+", " ").str.replace(r"^0+([0-9]+)$", "$1")
    twins = pl.DataFrame({"name": names, "seen": seen}).sort("seen", "name").filter(pl.col("seen").is_duplicated())
    if twins.is_empty():
        return []
    pair = twins["name"][:2].to_list()
    alike = normalize("NFKC", pair[0]) == normalize("NFKC", pair[1])
    first, second = (ascii(name) if alike else repr(name) for name in pair)  # escapes show what the eye does not
    return [
        f"{counted(twins.height, 'id')} stay apart though they look alike (upper case, Unicode form, blanks or leading "
        f"zeros), e.g. {first} and {second}"
    ]
