"""Three weeks of files as three shops' tills would send them, so that the example has something to read.

Nothing comes in but a folder's name; one CSV file for each day goes there. The same files every time.
"""

from __future__ import annotations

import csv
import random
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

FIRST, DAYS = date(2025, 3, 3), 21
BAD = date(2025, 3, 12)
PRICES = {"bread": 3.2, "cheese": 6.5, "coffee": 2.8, "flowers": 9.9, "soap": 4.1}
SHOPS = {"harbour": 14, "market": 22, "station": 30}  # receipts on an ordinary day
CLOSED = {"market": 6}  # no market on Sundays
AGAIN = 0.1  # how many receipts a till sends a second time

Row = tuple[str, str, str, int, float, str]


def rows(day: date, *, mended: bool) -> list[Row]:
    """The receipts of a day: their number, shop, item, quantity, amount in euros, and when the till sent them.

    On one day a till of the station has its sign wrong, until it is `mended`.
    """
    chance = random.Random(f"shops {day}")  # noqa: S311  # the same every time is what is wanted
    found: list[Row] = []
    for shop, usual in SHOPS.items():
        if CLOSED.get(shop) == day.weekday():
            continue
        sign = -1 if shop == "station" and day == BAD and not mended else 1
        for number in range(chance.randint(usual - 3, usual + 3)):
            item = chance.choice(list(PRICES))
            quantity = chance.randint(1, 4)
            sent = datetime(day.year, day.month, day.day, 8, tzinfo=UTC) + timedelta(minutes=chance.randint(0, 600))
            row = (f"{shop}-{number:03}", shop, item, quantity, sign * round(quantity * PRICES[item], 2))
            found.append((*row, _text(sent)))
            if chance.random() < AGAIN:
                found.append((*row, _text(sent + timedelta(minutes=chance.randint(1, 90)))))
    return found


def write(folder: Path, *, mended: bool) -> list[Path]:
    """The files of all days; where the bad day is `mended`, of that one alone."""
    folder.mkdir(parents=True, exist_ok=True)
    days = [BAD] if mended else [FIRST + timedelta(days=number) for number in range(DAYS)]
    for day in days:
        with (folder / f"{day}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["receipt", "shop", "item", "quantity", "amount", "sent"])
            writer.writerows(rows(day, mended=mended))
    return [folder / f"{day}.csv" for day in days]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M")


if __name__ == "__main__":
    written = write(Path(__file__).parent / "data", mended="--mended" in sys.argv[1:])
    print(f"{len(written)} files in {written[0].parent}, {written[0].name} to {written[-1].name}")
