# SPDX-License-Identifier: MIT OR Apache-2.0
"""A stream of numbered lines through Celery: the worker appends each to a file.

celery --app stream worker      takes them
python -m stream RATE COUNT     sends them
"""

import os
import sys
import time

from celery import Celery

app = Celery("stream", broker=os.environ["STREAM_BROKER"])
if os.environ["STREAM_CONFIRM"]:
    app.conf.broker_transport_options = {"confirm_publish": True}


@app.task(name="line", ignore_result=True)
def line(number):
    with open(os.environ["STREAM_ARRIVED"], "a") as arrived:
        arrived.write(f"{number}\n")


def main():
    rate, count = int(sys.argv[1]), int(sys.argv[2])
    refused = 0
    begin = time.monotonic()
    for number in range(count):
        time.sleep(max(0, begin + number / rate - time.monotonic()))
        try:
            line.delay(number)
        except Exception as error:  # What a caller can do about a line that Celery refuses: count it and go on.
            refused += 1
            print(f"{number}: {error!r}", flush=True)
    print(f"refused: {refused}", flush=True)


if __name__ == "__main__":
    main()
