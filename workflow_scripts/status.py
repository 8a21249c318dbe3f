"""Print how far the grid of a configuration is: `make status [CONFIG=mine.yaml]`."""

import argparse
import sys
import time
from pathlib import Path

from dclib.errors import InputError
from dclib.pipeline import locks, start, status
from dclib.pipeline.staleness import Staleness


def main() -> None:
    """Print the table, then what there is to say about single files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("overlay", nargs="*", type=Path, help="as given to --configfile")
    overlays = parser.parse_args().overlay
    try:
        plan, hashes = start.plan(Path(__file__).resolve().parent.parent, overlays, {}, look=False)
        began = locks.started(plan.results)
        reports = status.survey(plan, Staleness(plan, hashes), began)
    except InputError as error:
        sys.exit(f"error: {error}")
    hashes.save()
    print(status.overview(reports))
    if details := status.details(reports):
        print(details)
    work = f"a run is at work, since {time.ctime(began)}" if began else "no run is at work"
    print(f"\n{work} (`left` is computing time, of one job after another)")


main()
