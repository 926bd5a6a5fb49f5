"""Runs a job, kills it, and reads what it has committed."""

import csv
import pathlib
import random
import subprocess
import time


class Job:
    """A job with state and output of its own, in a folder that has to be new."""

    def __init__(self, binary, topology, folder, sinks, settings=()):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True)
        self.sinks = sinks
        self.command = [str(binary), "run", str(topology), "--state", str(self.folder / "state")]
        # Short enough for checkpoints between any two kills.
        settings = ["checkpoint.interval=100ms", "window.interval=20ms", *settings]
        for sink in sinks:
            settings.append(f"sinks.{sink}.path={self.folder / sink}")
        for setting in settings:
            self.command += ["--set", setting]

    def run(self, *more):
        """Runs it to its end; returns how many seconds that took."""
        began = time.monotonic()
        ended = subprocess.run(self.command + list(more), capture_output=True, text=True)
        assert ended.returncode == 0, f"exit code {ended.returncode}: {ended.stderr}"
        return time.monotonic() - began

    def run_killed(self, times, longest, *more):
        """Kills it so many times, each time at a random moment of its life; returns how often it came to that."""
        for killed in range(times):
            life = subprocess.Popen(
                self.command + list(more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            try:
                said = life.communicate(timeout=random.uniform(0, longest))[1]
                assert life.returncode == 0, f"exit code {life.returncode}: {said}"
                return killed
            except subprocess.TimeoutExpired:
                life.kill()
                life.communicate()
        return times

    def rows(self, sink):
        """Returns the rows of a sink, sorted, without the names of the columns."""
        rows = []
        for file in sorted((self.folder / sink).iterdir()):
            assert not file.name.startswith("."), f"{file} was left behind"
            with open(file, newline="") as lines:
                rows += [tuple(row) for row in list(csv.reader(lines))[1:]]
        return sorted(rows)
