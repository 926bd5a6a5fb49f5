#!/usr/bin/env bash
# What jobs in a crash loop cost the others: `piton serve` with GOOD jobs alone, then with BAD more that fail for ever.
# Prints the records and the committed checkpoints of the good ones in each case, how many of their checkpoints failed, and how many threads there were.
#   benches/many_jobs.sh [PITON] [GOOD] [BAD] [SECONDS]
set -euo pipefail
piton=${1:-target/release/piton} good=${2:-90} bad=${3:-10} seconds=${4:-30}
folder=$(mktemp -d)
served=
trap '[ -z "$served" ] || kill -9 "$served" 2> /dev/null || true; rm -rf "$folder"' EXIT

job() { # FILE ROW: fails at that row, again and again
    cat > "$1" <<TOML
[checkpoint]
interval = "1s"
[recovery]
strategy = "fixed-delay"
attempts = "unlimited"
delay = "50ms"
[sources.numbers]
type = "generate"
rows = 1000000000
rate = "500/s"
[operators.stone]
type = "fail"
inputs = ["numbers"]
where = "id = $2"
times = 0
[sinks.rows]
type = "blackhole"
inputs = ["stone"]
TOML
}

records() { # of the good ones
    curl -s "$address/metrics" | awk '/^piton_records_in\{job_name="good/ { sum += $2 } END { printf "%d", sum }'
}

measure() { # BAD
    rm -rf "${folder:?}"/*
    mkdir "$folder/jobs"
    for number in $(seq "$good"); do job "$folder/jobs/good-$number.toml" -1; done
    for number in $(seq "$1"); do job "$folder/jobs/bad-$number.toml" 100; done
    PITON_LOG=error "$piton" serve "$folder/jobs" --state "$folder/state" --http 0 --events "$folder/events" 2> "$folder/said" &
    served=$!
    until address=$(grep -o 'http://[0-9.:]*' "$folder/said"); do sleep 0.1; done
    until [ "$(grep -c '"event":"started"' "$folder/events")" -ge $((good + $1)) ]; do sleep 0.1; done
    sleep 2
    local before lines after
    before=$(records) lines=$(wc -l < "$folder/events")
    sleep "$seconds"
    after=$(records)
    tail -n "+$((lines + 1))" "$folder/events" > "$folder/measured"
    local of='"job":"good-'
    echo "$1 in a crash loop: $(((after - before) / seconds)) records/s," \
        "$(grep "$of" "$folder/measured" | grep -c '"event":"committed"') checkpoints committed," \
        "$(grep "$of" "$folder/measured" | grep -c '"event":"checkpoint_failed"' || true) failed," \
        "$(grep -v "$of" "$folder/measured" | grep -c '"event":"restarted"' || true) restarts of the bad," \
        "$(ls "/proc/$served/task" | wc -l) threads"
    kill "$served"
    wait "$served" || echo "it ended with $?"
    served=
}

echo "$good good jobs of 500 records/s, a checkpoint each second, for $seconds s:"
measure 0
measure "$bad"
