"""Which row is whose: rows without a key would leave every group-by without a word, so they are refused by name."""

import pandas as pd


def require_keys(table: pd.DataFrame, *columns: str) -> None:
    """Raise ValueError, with the count and the first such row, where a key is None, NaN or empty text."""
    for column in columns:
        missing = lacks(table[column])
        if missing.any():
            first = table.index[missing.to_numpy().argmax()]
            raise ValueError(
                f"{int(missing.sum())} of {len(table)} rows have no {column} (the first is row {first}); every row "
                f"needs one, or it would be left out without a word"
            )


def lacks(values: pd.Series) -> pd.Series:
    """Which of them are None, NaN or empty text?"""
    empty = [value for value in values.unique() if isinstance(value, str) and not value.strip()]
    return values.isna() | values.isin(empty)
