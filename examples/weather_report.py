"""A year's weather, month by month: an example of a job to run under Ringfence.

    ringfence run --app weather --user ada -- python examples/weather_report.py seattle.csv 2015

It reads daily weather from the app's place and stores a report in the place of the user who runs
it. No bucket, prefix or key is named here: `attach()` opens what this run may touch, nothing else.
"""

import csv
import io
import json
import sys
from itertools import groupby
from statistics import fmean
from typing import Any

from ringfence import attach

Row = dict[str, Any]


def read_days(data: bytes, year: str) -> list[Row]:
    numbers = ("precipitation", "temp_max", "temp_min")
    rows = [row for row in csv.DictReader(io.StringIO(data.decode())) if row["date"][:4] == year]
    return [{"date": row["date"]} | {name: float(row[name]) for name in numbers} for row in rows]


def summarise(month: str, days: list[Row]) -> Row:
    rain = [day["precipitation"] for day in days]
    return {
        "month": month,
        "mean_c": round(fmean((day["temp_max"] + day["temp_min"]) / 2 for day in days), 1),
        "rain_mm": round(sum(rain), 1),
        "wet_days": sum(mm > 0 for mm in rain),
    }


def longest_dry_spell(days: list[Row]) -> Row:
    spells = groupby(days, lambda day: day["precipitation"] == 0)
    longest = max((list(some) for dry, some in spells if dry), key=len)
    return {"days": len(longest), "from": longest[0]["date"], "to": longest[-1]["date"]}


def as_csv(rows: list[Row]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def main(source: str, year: str) -> None:
    ws = attach()
    days = read_days(bytes(ws.app.get(source).bytes()), year)
    if not days:
        sys.exit(f"{source} has no day of {year}.")
    ws.log.info("read", source=source, year=year, days=len(days))

    by_month = groupby(days, lambda day: day["date"][:7])
    months = [summarise(month, list(some)) for month, some in by_month]
    # Scratch space, from which a longer job would go on after a failure.
    ws.tmp.put("months.json", json.dumps(months).encode())
    for row in months:
        print("{month} {mean_c:6.1f} C {rain_mm:7.1f} mm {wet_days:3} wet days".format(**row))

    report = {
        "days": len(days),
        "hottest": max(days, key=lambda day: day["temp_max"]),
        "coldest": min(days, key=lambda day: day["temp_min"]),
        "wettest": max(days, key=lambda day: day["precipitation"]),
        "dry_spell": longest_dry_spell(days),
        "months": months,
    }
    ws.user.put(f"reports/{year}.json", json.dumps(report, indent=2).encode())
    ws.user.put(f"reports/{year}.csv", as_csv(months))
    # For everyone who uses the app, while the report is this user's alone.
    ws.app.put(f"summaries/{year}.json", json.dumps(report["dry_spell"]).encode())
    ws.tmp.delete("months.json")
    ws.log.info("stored", report=f"reports/{year}.json", months=len(months))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: weather_report.py SOURCE.csv YEAR")
    main(*sys.argv[1:])
