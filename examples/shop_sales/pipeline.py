"""What three shops sold: a file a day from their tills, cleaned, checked, summed, and told by the week.

Files come in through `receipts`; a report a week and a statement a shop go out. Every function takes and gives plain
tables, texts and dicts, and can be called so in a notebook or in a test.
"""

from __future__ import annotations

import polars as pl

from drawbar import (
    CheckResult,
    Contract,
    Daily,
    Last,
    Multi,
    Partition,
    Partitioned,
    Source,
    Static,
    Weekly,
    asset,
    check,
    expand,
)

# An example ends one day; without an end, every day is a partition when it is over.
DAYS = Daily("2025-03-03", "2025-03-24")
WEEKS = Weekly("2025-03-03", "2025-03-24")
SHOPS = Static(["harbour", "market", "station"])

receipts = Source("data/{partition}.csv", partitions=DAYS)


@asset(partitions=DAYS, outputs=["sales", "resent"])
def cleaned(receipts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What counts, and what does not: a till sends a receipt again when it is unsure, and the last one sent counts."""
    ordered = receipts.with_columns(pl.col("sent").str.to_datetime()).sort("sent", "receipt", maintain_order=True)
    last = pl.col("receipt").is_last_distinct()
    return ordered.filter(last), ordered.filter(~last)


@check("sales")
def nothing_negative(sales: pl.DataFrame) -> CheckResult:
    """A refund is no sale, and comes by another way."""
    bad = sales.filter(pl.col("amount") < 0)
    return CheckResult(
        bad.is_empty(),
        expected="no amount below 0",
        found=f"{bad.height} of {sales.height} receipts",
        details={"shops": sorted(set(bad["shop"])), "lowest": bad["amount"].min()},
        column="amount",
    )


@asset(
    partitions=DAYS,
    expects={"sales": Contract({"shop": "string", "amount": "float64"})},
    path="out/totals/{partition}.parquet",
)
def daily_totals(sales: pl.DataFrame) -> pl.DataFrame:
    """One row a shop: how many receipts, and their sum."""
    sums = sales.group_by("shop").agg(receipts=pl.len().cast(pl.Int64), revenue=pl.col("amount").sum().round(2))
    return sums.sort("shop")


@check(daily_totals, min=0.5, max=2.0)
def like_last(totals: pl.DataFrame, last: pl.DataFrame | None) -> float:
    """A day that is made again neither halves nor doubles: by what its revenue was multiplied."""
    return 1.0 if last is None else totals["revenue"].sum() / last["revenue"].sum()


@check(daily_totals, blocking=False, min=3)
def shops_that_sold(totals: pl.DataFrame) -> int:
    """A shop without a receipt may be closed, or its till cut off: worth a look, and no reason to stop."""
    return totals.height


@asset(partitions=DAYS, mappings={"daily_totals": Last(7)})
def rolling_week(daily_totals: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The seven days that end with this one, or as many as there are, as a mean day of each shop."""
    days = pl.concat(daily_totals.values())
    return days.group_by("shop").agg(pl.col("receipts", "revenue").sum() / len(daily_totals)).sort("shop")


@asset(partitions=WEEKS, path="out/week-{partition}.txt")
def weekly_report(daily_totals: Partitioned[pl.DataFrame], partition: Partition) -> str:
    """A page for people. It reads one day after the other, so that a year would need no more memory."""
    lines = [f"Week of {partition.start:%d %B %Y}", ""]
    lines += [f"{day}  {totals['revenue'].sum():9.2f}" for day, totals in daily_totals.items()]
    return "\n".join([*lines, ""])


@asset(partitions=Multi(date=DAYS, shop=SHOPS))
def by_shop(sales: pl.DataFrame, partition: Partition) -> pl.DataFrame:
    """One shop's day: what to look at when somebody calls from there."""
    return sales.filter(pl.col("shop") == partition.keys["shop"]).drop("shop")


def accounts(by_shop: Partitioned[pl.DataFrame]) -> list[dict[str, str | float]]:
    """What each shop owes for its stall: a tenth of all that it sold."""
    sold = dict.fromkeys(SHOPS.names, 0.0)
    for key, day in by_shop.items():
        sold[key.partition("|")[2]] += day["amount"].sum()
    return [{"shop": shop, "sold": round(total, 2), "due": round(total / 10, 2)} for shop, total in sold.items()]


@asset(over="account", inputs={"account": "accounts"})
def statements(account: dict[str, str | float]) -> str:
    """A letter for each shop. When one account changes, one letter is written again."""
    return f"Dear {account['shop']}, you sold for {account['sold']:.2f} and owe {account['due']:.2f}."


@expand(smoothing={"quick": 0.5, "slow": 0.1})
def trend(daily_totals: Partitioned[pl.DataFrame], smoothing: float) -> dict[str, float]:
    """What exponential smoothing expects of the next day, and by how much it was wrong on the days so far."""
    expected, wrong = 0.0, []
    for number, totals in enumerate(daily_totals.values()):
        sold = totals["revenue"].sum()
        wrong += [abs(sold - expected)] if number else []
        expected = expected + smoothing * (sold - expected) if number else sold
    return {"next": round(expected, 2), "error": round(sum(wrong) / max(len(wrong), 1), 2)}


def forecast(trend: dict[str, dict[str, float]]) -> dict[str, str | float]:
    """The smoothing that was wrong by less, and what it expects."""
    best = min(trend, key=lambda name: trend[name]["error"])
    return {"smoothing": best, **trend[best]}
