"""Owns the sample's time: span, five-minute buckets, windows. Everything is UTC seconds."""

import calendar
import time


def at(text):
    """Seconds since the epoch of an RFC 3339 time without fraction."""
    return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def rfc3339(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


BUCKET = 300
START = at("2026-10-26T00:00:00Z")
# Four weeks, and the six hours after them without which the last day could not close.
END = at("2026-11-23T06:30:00Z")
BUCKETS = (END - START) // BUCKET
# The default window: the last fourteen closed days.
WINDOW = (at("2026-11-09T00:00:00Z"), at("2026-11-23T00:00:00Z"))
FINE_DAY = (at("2026-11-22T00:00:00Z"), at("2026-11-23T00:00:00Z"))
DAY = 86400
HOUR = 3600


def bucket(seconds):
    return (seconds - START) // BUCKET


def scrape_times(offset, fine_seconds=None):
    """Scrapes of one target: every five minutes, on the fine day every `fine_seconds`."""
    times = []
    t = START + offset
    while t < END:
        if fine_seconds and FINE_DAY[0] <= t < FINE_DAY[1]:
            fine = FINE_DAY[0] + offset % fine_seconds
            while fine < FINE_DAY[1]:
                times.append(fine)
                fine += fine_seconds
            t = FINE_DAY[1] + offset
            continue
        times.append(t)
        t += BUCKET
    return times
