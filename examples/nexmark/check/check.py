"""Answers the queries of NEXMark with piton and with DuckDB, and compares the answers, row by row.

    python check.py BINARY [--events 1000000] [--kills 20] [--seed 1] [--work FOLDER] [QUERY ...]

BINARY is target/release/examples/nexmark. Every query runs at parallelism 1, at parallelism 4, and at parallelism 4 while
it is killed with -9 again and again. Needs the package `duckdb`, which gets the events from files that piton writes.
"""

import argparse
import collections
import pathlib
import random
import sys
import tempfile

import duckdb

from jobs import Job

HERE = pathlib.Path(__file__).parent

# The winning bid of each auction: q4 and q6.
WON = """
    SELECT a.id AS auction, a.category, a.seller, b.price, b.date_time AS won_at
    FROM auction a JOIN bid b ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires
    QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY b.price DESC, b.date_time) = 1
"""

# What the queries ask, in the dialect of DuckDB; // is the division of whole numbers.
QUERIES = {
    "q0": "SELECT auction, bidder, price, date_time, extra FROM bid",
    "q1": "SELECT auction, bidder, price * 908, date_time, extra FROM bid",
    "q2": "SELECT auction, price FROM bid WHERE auction % 123 = 0",
    "q3": """
        SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('or', 'id', 'ca')
    """,
    "q4": f"SELECT category, sum(price) // count(*) FROM ({WON}) GROUP BY category",
    "q5": """
        WITH windows AS (
            SELECT auction, unnest(range(date_time // 2000 * 2000 - 8000, date_time + 1, 2000)) AS start FROM bid
        ), counts AS (
            SELECT auction, start, count(*) AS num FROM windows GROUP BY auction, start
        )
        SELECT auction, num FROM counts QUALIFY num = max(num) OVER (PARTITION BY start)
    """,
    "q6": f"""
        SELECT seller, total // auctions FROM (
            SELECT seller, row_number() OVER (PARTITION BY seller ORDER BY won_at DESC, auction DESC) AS newest,
                   sum(price) OVER last AS total, count(*) OVER last AS auctions
            FROM ({WON})
            WINDOW last AS (PARTITION BY seller ORDER BY won_at, auction ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)
        ) WHERE newest = 1
    """,
    "q7": """
        SELECT auction, bidder, price, date_time, extra FROM bid
        QUALIFY price = max(price) OVER (PARTITION BY date_time // 10000)
    """,
    "q8": """
        SELECT DISTINCT p.id, p.name, p.date_time // 10000 * 10000
        FROM person p JOIN auction a ON p.id = a.seller AND p.date_time // 10000 = a.date_time // 10000
    """,
    "q11": """
        SELECT bidder, count(*), min(date_time), max(date_time) + 10000 FROM (
            SELECT *, sum(is_first) OVER (PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS session
            FROM (SELECT *, CASE WHEN date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time) < 10000
                                 THEN 0 ELSE 1 END AS is_first FROM bid)
        ) GROUP BY bidder, session
    """,
    # Its windows are of real time: what they have together is all that is certain.
    "q12": "SELECT bidder, count(*) FROM bid GROUP BY bidder",
}


def totals(rows):
    """Adds the counts of q12 up over all windows of a bidder; no window may come twice."""
    counts, windows = collections.Counter(), set()
    for bidder, count, start, end in rows:
        assert (bidder, start) not in windows and int(end) - int(start) == 10_000, f"{bidder} at {start}"
        windows.add((bidder, start))
        counts[bidder] += int(count)
    return sorted((bidder, str(count)) for bidder, count in counts.items())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("queries", nargs="*")
    arguments.add_argument("--events", type=int, default=1_000_000)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--work")
    given = arguments.parse_args()
    random.seed(given.seed)
    work = pathlib.Path(tempfile.mkdtemp(dir=given.work))
    setting = f"sources.events.events={given.events}"

    kinds = ["person", "auction", "bid"]
    events = Job(given.binary, HERE / "events.toml", work / "events", kinds, [setting])
    events.run()
    database = duckdb.connect()
    for kind in kinds:
        database.execute(f"CREATE TABLE {kind} AS FROM read_csv('{work}/events/{kind}/*.csv', header = true)")

    is_right = True
    for query in given.queries or QUERIES:
        expected = database.execute(QUERIES[query]).fetchall()
        expected = sorted(tuple(map(str, row)) for row in expected)
        for parallelism, kills in [(1, 0), (4, 0), (4, given.kills)]:
            name = f"{query}-{parallelism}-{kills}"
            settings = [setting, f"job.parallelism={parallelism}"]
            job = Job(given.binary, HERE.parent / f"{query}.toml", work / name, [query], settings)
            killed = 0
            if kills > 0:
                # At this pace the kills are spread over the whole input.
                longest, pace = 2.0, given.events // kills
                killed = job.run_killed(kills, longest, "--set", f"sources.events.pace={pace}")
            seconds = job.run()
            got = totals(job.rows(query)) if query == "q12" else job.rows(query)
            verdict = "equal" if got == expected else "DIFFERENT"
            is_right &= got == expected
            told = f"{len(got):7} rows, {verdict}, {seconds:.1f} s"
            print(f"{query:4} parallelism {parallelism} kills {killed:2}: {told}", flush=True)
            if got != expected:
                print("  lacks", sorted(set(expected) - set(got))[:3], "has", sorted(set(got) - set(expected))[:3])
    print("everything is equal" if is_right else "something differs")
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
