"""Print how far the grid of a configuration is: `make status [CONFIG=mine.yaml] [WATCH=1]`."""

import argparse

from dclib.pipeline import command, start

given = argparse.ArgumentParser(
    description=__doc__, parents=[command.status_options()]
).parse_args()
with start.in_one_line():
    command.show_status(given.overlay, given.json, given.watch)
