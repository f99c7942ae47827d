"""The check's own windows against those that Spark computed over the same readings."""

import csv
import gzip
import json
import unittest
from datetime import datetime, timezone

from check import recordings, windows


def golden(name):
    with open(recordings.DATA / "golden" / name / "windows.csv", newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            end = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=timezone.utc)
            yield row["deviceId"], int(end.timestamp()) * 1000, row


class Golden(unittest.TestCase):
    def same(self, found, wanted):
        for window, (end_ms, row) in zip(found, wanted, strict=True):
            self.assertEqual((window.end_ms, window.samples), (end_ms, int(row["sample_count"])))
            self.assertEqual(windows.label(window.mean), row["activity"])
            self.assertAlmostEqual(window.mean / float(row["avg_magnitude"]), 1, delta=1e-9)

    def test_batch(self):
        rows = recordings.trials("motionsense/ms02", ("dws_1", "dws_11", "dws_2", "jog_16", "jog_9", "sit_13", "sit_5",
                                                      "std_14", "std_6", "ups_12", "ups_3", "ups_4", "wlk_15", "wlk_7",
                                                      "wlk_8"))
        wanted = [(end, row) for device, end, row in golden("motionsense") if device == "phone-ms02"]
        self.assertGreater(len(wanted), 300)
        self.same(windows.windows([rows]), wanted)

    def test_late(self):
        with gzip.open(recordings.DATA / "golden/late/pushes.ndjson.gz", "rt", encoding="utf-8") as lines:
            pushes = [json.loads(line) for line in lines]
        messages = [
            [(one["time"], one["values"]["x"], one["values"]["y"], one["values"]["z"])
             for one in push["payload"] if one["name"] == "accelerometer"]
            for push in pushes
        ]
        wanted = [(end, row) for _, end, row in golden("late")]
        # The file has those alone that the watermark closed.
        closed = [one for one in windows.windows(messages) if one.end_ms <= wanted[-1][0]]
        self.same(closed, wanted)


if __name__ == "__main__":
    unittest.main()
