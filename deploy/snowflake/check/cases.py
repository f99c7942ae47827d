"""A few rows whose answers are known, and the answers: what the views say of them, in every warehouse.

Times are seconds after 2023-11-14 22:13:20 UTC. Rows come in both shapes of RECORD_METADATA: gaitway's sink (`sunk`)
and Snowflake's Kafka connector (`connected`, the record's name as text under `headers`). PostgreSQL alone notes when a
row was stored: each at `STORED`. What only it can tell is marked `Noted`, and null elsewhere.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

T0 = datetime(2023, 11, 14, 22, 13, 20)
NS = 1_700_000_000 * 10**9


def at(seconds):
    return T0 + timedelta(seconds=seconds)


STORED = at(40)


@dataclass(frozen=True)
class Noted:
    value: object


def sunk(topic, offset, stream, seq, index, synced, partition=0):
    return {"agent": "pi", "epoch": "00000000000000e1", "ordinal": 1, "stream": stream, "seq": seq, "index": index,
            "clockSynced": synced, "topic": topic, "partition": partition, "offset": offset, "key": "d1"}


def connected(topic, offset, stream, seq, index, synced, created, pushed):
    return {"topic": topic, "partition": 1, "offset": offset, "key": "d2", "CreateTime": created,
            "SnowflakeConnectorPushTime": pushed,
            "headers": {"agent": "pi2", "epoch": "00000000000000e2", "ordinal": "2", "stream": stream, "seq": seq,
                        "index": index, "clockSynced": synced}}


def reading(metadata, message, session, device, sensor, time, index, agent, received):
    return {"RECORD_METADATA": metadata, "messageId": message, "sessionId": session, "deviceId": device,
            "sensorType": sensor, "x": 0.5, "y": -1.0, "z": 9.80665, "accuracy": None,
            "timestamp": NS + int(time * 10**9), "reading": None, "readingIndex": index, "userId": None,
            "agentId": agent, "receivedAt": None if received is None else at(received)}


def raw(offset, seq, index, message, sensor, time, received, synced=True):
    return reading(sunk("raw_sensor_data", offset, "raw", seq, index, synced), message, "s1", "d1", sensor, time, index,
                   "pi", received)


def other(seq, sensor, time, told):
    """A push of one reading of another sensor than those with three axes, told straight to the warehouse by its agent."""
    metadata = {"agent": "pi3", "epoch": "00000000000000e3", "ordinal": 3, "stream": "raw", "seq": seq, "index": 0,
                "clockSynced": True}
    row = reading(metadata, seq, "s5", "d5", sensor, time or 0, 0, "pi3", 201 + seq)
    return row | {"x": None, "y": None, "z": None, "timestamp": row["timestamp"] if time else None, "reading": told}


def window(offset, session, device, activity, start, revision, confidence, shape="sunk"):
    metadata = (sunk("processed_activity", offset, "activity", offset, 0, None) if shape == "sunk" else
                connected("processed_activity", offset, "activity", str(offset), "0", "null", None, None))
    return {"RECORD_METADATA": metadata, "timestamp": at(int(start + 10)), "sessionId": session, "deviceId": device,
            "activity": activity, "confidence": confidence, "avg_magnitude": 5.0, "windowStart": at(start),
            "windowEnd": at(start + 10), "sampleCount": 100, "classifier": "threshold", "revision": revision,
            "agentId": "pi"}


ahead = connected("raw_sensor_data", 7, "raw", "1", "0", "false", 1_700_000_009_250, 1_700_000_010_000)
ACC = "accelerometer"
# Seconds from T0 to the next midnight.
NIGHT = 6400


def place(latitude, longitude, altitude, speed, bearing, accuracy):
    return {"values": {"latitude": latitude, "longitude": longitude, "altitude": altitude, "speed": speed,
                       "bearing": bearing, "horizontalAccuracy": accuracy, "verticalAccuracy": 3}}


# Sensor, time, and what the column `reading` holds.
OTHERS = [
    ("location", 200.25, place(51.5, -0.125, 35.25, 1.5, 270, 4.75)),
    ("location", 201, place("51.50001", "-0.12501", "-3.5", "2.5e-1", "90", "12") | {"unit": "an unknown field"}),
    ("location", 202.0625, place(51.5, -0.125, -12.5, -1, "-1", -1.0)),               # negative: unknown
    ("location", 203, place(" 5 ", "north", "", True, "NaN", "1e999x")),               # no numbers
    ("location", 204, {"values": {}}),
    ("location", None, {"name": "location", "time": "soon", "values": {"latitude": 1}}),  # outside the app's form
    ("location", 206, None),
    ("location", 207, {"original": "text"}),
    ("pedometer", 208.5, {"values": {"steps": 10}}),
    ("pedometer", 209, {"values": {"steps": "25"}}),
    ("pedometer", 210, {"values": {"steps": 40.0}}),
    ("pedometer", 211, {"values": {"steps": 3}}),                                     # counted anew
    ("pedometer", 212, {"values": {"steps": -1}}),
    ("pedometer", 213, {"values": {"steps": "many"}}),
    ("pedometer", 214, None),
    ("activity", 215, {"values": {"activity": "walking", "confidence": "high"}}),
    ("activity", 216.125, {"values": {"activity": "automotive", "confidence": None}}),
    ("activity", 217, {"values": {}}),
]

ROWS = {
    "RAW_DATA.ACTIVITY_RECORDS": [
        raw(0, 1, 0, 0, ACC, 0, 1.5),
        raw(1, 1, 1, 0, ACC, 0.5, 1.5),
        raw(2, 2, 0, 1, ACC, 30, 31),
        raw(3, 3, 0, 4, ACC, 5, 32),          # 2 and 3 are missing; the watermark stands at 20
        raw(4, 3, 1, 4, ACC, 31, 32),
        raw(5, 3, 1, 4, ACC, 31, 32),         # the one before, told to Kafka twice
        raw(6, 4, 0, 5, "gyroscope", 1, 33, synced=False),
        reading(ahead, 0, "s2", "d2", ACC, 10, 0, "pi2", 9),  # the phone's clock is ahead
        reading(ahead, 0, "s2", "d2", ACC, 10, 0, "pi2", 9),  # stored twice from one offset
        reading(None, 0, "s3", "d3", ACC, 0, 0, None, None),  # from a writer that names nothing
        reading({"headers": {"agent": "pi2", "epoch": "e", "ordinal": "2", "stream": "raw", "seq": "x", "index": "0"}},
                0, "s4", "d4", ACC, 0, 0, "pi2", 1),           # a seq that is no number
        *[other(seq, *told) for seq, told in enumerate(OTHERS)],
    ],
    "PROCESSED_DATA.USER_ACTIVITY_PROCESSED": [
        window(1, "s1", "d1", "walking", 0, 0, 0.9),
        window(2, "s1", "d1", "stationary", 2, 0, 0.6),
        window(3, "s1", "d1", "walking", 2, 1, 0.7),           # the one before, reclassified
        window(4, "s1", "d1", "running", 4, 0, 0.8),
        window(5, "s1", "d1", "running", 40, 0, 0.5),          # after a pause
        window(6, "s2", "d2", "stationary", NIGHT - 2, 0, 0.5, "connected"),
        window(7, "s2", "d2", "stationary", NIGHT, 0, 0.7, "connected"),
        # With a fraction of a second and without: as text 0.5Z sorts before 0Z.
        window(8, "s6", "d6", "walking", 100, 0, 0.5),
        window(9, "s6", "d6", "running", 100.5, 0, 0.75),
        window(10, "s6", "d6", "running", 101, 0, 0.25),
    ],
    "RAW_DATA.GAPS": [
        {"RECORD_METADATA": sunk("gaitway_gaps", 0, "raw", 6, 0, None), "agentId": "pi", "epoch": "00000000000000e1",
         "stream": "raw", "fromSeq": 6, "toSeq": 8, "messages": 2, "readings": None, "reason": "the spool was full",
         "noticedAt": at(60)},
        # As long as a gap can be, twice: no sum of its frames is an integer of 64 bits.
        *({"RECORD_METADATA": sunk("gaitway_gaps", offset, "raw", 900 + offset, 0, None), "agentId": "pi",
           "epoch": "00000000000000e1", "stream": stream, "fromSeq": 0, "toSeq": 2**63 - 1, "messages": 0,
           "readings": None, "reason": "lost", "noticedAt": at(61)} for offset, stream in ((1, "other"), (2, "third"))),
    ],
}

TOLD = [(seq, sensor, None if time is None else at(time), None if time is None else NS + int(time * 10**9))
        for seq, (sensor, time, _) in enumerate(OTHERS)]
SUNK_RAW = ("ACTIVITY_RECORDS", "pi", "00000000000000e1", 1, "raw")

# View: columns asked for, rows in any order.
EXPECTED = {
    "raw_readings": ("message_id, session_id, sensor, x, z, time, reading_index, received_at, clock_synced", [
        (0, "s1", ACC, 0.5, 9.80665, at(0), 0, at(1.5), True),
        (0, "s1", ACC, 0.5, 9.80665, at(0.5), 1, at(1.5), True),
        (1, "s1", ACC, 0.5, 9.80665, at(30), 0, at(31), True),
        (4, "s1", ACC, 0.5, 9.80665, at(5), 0, at(32), True),
        (4, "s1", ACC, 0.5, 9.80665, at(31), 1, at(32), True),
        (4, "s1", ACC, 0.5, 9.80665, at(31), 1, at(32), True),
        (5, "s1", "gyroscope", 0.5, 9.80665, at(1), 0, at(33), False),
        (0, "s2", ACC, 0.5, 9.80665, at(10), 0, at(9), False),
        (0, "s2", ACC, 0.5, 9.80665, at(10), 0, at(9), False),
        (0, "s3", ACC, 0.5, 9.80665, at(0), 0, None, None),
        (0, "s4", ACC, 0.5, 9.80665, at(0), 0, at(1), None),
        *[(seq, "s5", sensor, None, None, time, 0, at(201 + seq), True) for seq, sensor, time, _ in TOLD],
    ]),
    "activity_windows": ("session_id, window_start, window_end, activity, revision, time", [
        ("s1", at(0), at(10), "walking", 0, at(10)),
        ("s1", at(2), at(12), "walking", 1, at(12)),
        ("s1", at(4), at(14), "running", 0, at(14)),
        ("s1", at(40), at(50), "running", 0, at(50)),
        ("s2", at(NIGHT - 2), at(NIGHT + 8), "stationary", 0, at(NIGHT + 8)),
        ("s2", at(NIGHT), at(NIGHT + 10), "stationary", 0, at(NIGHT + 10)),
        ("s6", at(100), at(110), "walking", 0, at(110)),
        ("s6", at(100.5), at(110.5), "running", 0, at(110)),
        ("s6", at(101), at(111), "running", 0, at(111)),
    ]),
    # Two of two each: the first by name.
    "sessions": ("device_id, session_id, first_time, last_time, windows, main_activity, main_share", [
        ("d1", "s1", at(0), at(50), 4, "running", 0.5),
        ("d2", "s2", at(NIGHT - 2), at(NIGHT + 10), 2, "stationary", 1),
        ("d6", "s6", at(100), at(111), 3, "running", 0.667),
    ]),
    "stream_gaps": ("agent_id, stream, from_seq, to_seq, frames, messages, readings, reason, noticed_at", [
        ("pi", "raw", 6, 8, 3, 2, None, "the spool was full", at(60)),
        ("pi", "other", 0, 2**63 - 1, 2**63, 0, None, "lost", at(61)),
        ("pi", "third", 0, 2**63 - 1, 2**63, 0, None, "lost", at(61)),
    ]),
    "locations": ("device_id, session_id, time, latitude, longitude, altitude, speed, bearing, horizontal_accuracy", [
        ("d5", "s5", at(200.25), 51.5, -0.125, 35.25, 1.5, 270, 4.75),
        ("d5", "s5", at(201), 51.50001, -0.12501, -3.5, 0.25, 90, 12),
        ("d5", "s5", at(202.0625), 51.5, -0.125, -12.5, None, None, None),
        ("d5", "s5", at(203), *6 * [None]),
        ("d5", "s5", at(204), *6 * [None]),
        ("d5", "s5", None, 1, *5 * [None]),
        ("d5", "s5", at(206), *6 * [None]),
        ("d5", "s5", at(207), *6 * [None]),
    ]),
    "step_counts": ("device_id, session_id, time_ns, time, steps", [
        ("d5", "s5", NS + 208_500_000_000, at(208.5), 10),
        ("d5", "s5", NS + 209_000_000_000, at(209), 25),
        ("d5", "s5", NS + 210_000_000_000, at(210), 40),
        ("d5", "s5", NS + 211_000_000_000, at(211), 3),
        ("d5", "s5", NS + 212_000_000_000, at(212), None),
        ("d5", "s5", NS + 213_000_000_000, at(213), None),
        ("d5", "s5", NS + 214_000_000_000, at(214), None),
    ]),
    "phone_activities": ("device_id, session_id, time_ns, time, activity, confidence", [
        ("d5", "s5", NS + 215_000_000_000, at(215), "walking", "high"),
        ("d5", "s5", NS + 216_125_000_000, at(216.125), "automotive", None),
        ("d5", "s5", NS + 217_000_000_000, at(217), None, None),
    ]),
    "activity_slices": ("session_id, activity, slice_start, slice_end", [
        ("s1", "walking", at(0), at(2)),
        ("s1", "walking", at(2), at(4)),
        ("s1", "running", at(4), at(14)),
        ("s1", "running", at(40), at(50)),
        ("s2", "stationary", at(NIGHT - 2), at(NIGHT)),
        ("s2", "stationary", at(NIGHT), at(NIGHT + 10)),
        ("s6", "walking", at(100), at(100.5)),
        ("s6", "running", at(100.5), at(101)),
        ("s6", "running", at(101), at(111)),
    ]),
    "activity_timeline": ("device_id, session_id, activity, start_time, end_time, seconds, windows, mean_confidence", [
        ("d1", "s1", "walking", at(0), at(4), 4, 2, 0.8),
        ("d1", "s1", "running", at(4), at(14), 10, 1, 0.8),
        ("d1", "s1", "running", at(40), at(50), 10, 1, 0.5),
        ("d2", "s2", "stationary", at(NIGHT - 2), at(NIGHT + 10), 12, 2, 0.6),
        ("d6", "s6", "walking", at(100), at(100.5), 0.5, 1, 0.5),
        ("d6", "s6", "running", at(100.5), at(111), 10.5, 2, 0.5),
    ]),
    "activity_minutes": ("day, device_id, activity, minutes, windows", [
        (T0.date(), "d1", "walking", 4 / 60, 2),
        (T0.date(), "d1", "running", 20 / 60, 2),
        (T0.date(), "d2", "stationary", 2 / 60, 1),
        (at(NIGHT).date(), "d2", "stationary", 10 / 60, 1),
        (T0.date(), "d6", "walking", 0.5 / 60, 1),
        (T0.date(), "d6", "running", 10.5 / 60, 2),
    ]),
    "record_sources": ("table_name, agent_id, epoch, ordinal, stream, seq, record_index, clock_synced, topic, "
                       "kafka_partition, kafka_offset, kafka_time, sink_time, stored_at", [
        *[(*row, Noted(STORED)) for row in (
            (*SUNK_RAW, 1, 0, True, "raw_sensor_data", 0, 0, None, None),
            (*SUNK_RAW, 1, 1, True, "raw_sensor_data", 0, 1, None, None),
            (*SUNK_RAW, 2, 0, True, "raw_sensor_data", 0, 2, None, None),
            (*SUNK_RAW, 3, 0, True, "raw_sensor_data", 0, 3, None, None),
            (*SUNK_RAW, 3, 1, True, "raw_sensor_data", 0, 4, None, None),
            (*SUNK_RAW, 3, 1, True, "raw_sensor_data", 0, 5, None, None),
            (*SUNK_RAW, 4, 0, False, "raw_sensor_data", 0, 6, None, None),
            *2 * [("ACTIVITY_RECORDS", "pi2", "00000000000000e2", 2, "raw", 1, 0, False, "raw_sensor_data", 1, 7,
                   at(9.25), at(10))],
            ("ACTIVITY_RECORDS", *12 * [None]),
            ("ACTIVITY_RECORDS", "pi2", "e", 2, "raw", None, 0, *6 * [None]),
            *[("ACTIVITY_RECORDS", "pi3", "00000000000000e3", 3, "raw", seq, 0, True, *5 * [None]) for seq, *_ in TOLD],
            *[("USER_ACTIVITY_PROCESSED", "pi", "00000000000000e1", 1, "activity", seq, 0, None, "processed_activity", 0,
               seq, None, None) for seq in (*range(1, 6), *range(8, 11))],
            *[("USER_ACTIVITY_PROCESSED", "pi2", "00000000000000e2", 2, "activity", seq, 0, None, "processed_activity",
               1, seq, None, None) for seq in range(6, 8)],
        )],
        ("GAPS", "pi", "00000000000000e1", 1, "raw", 6, 0, None, "gaitway_gaps", 0, 0, None, None, None),
        *[("GAPS", "pi", "00000000000000e1", 1, "raw", 900 + offset, 0, None, "gaitway_gaps", 0, offset, None, None, None)
          for offset in (1, 2)],
    ]),
    "latency": ("session_id, message_id, readings, clock_synced, oldest_reading_ms, phone_to_agent_ms, "
                "agent_to_kafka_ms, kafka_to_sink_ms, stored_at, kafka_to_row_ms, push_to_row_ms", [
        ("s1", 0, 2, True, 1500, 1000, None, None, Noted(STORED), None, Noted(38500)),
        ("s1", 1, 1, True, 1000, 1000, None, None, Noted(STORED), None, Noted(9000)),
        ("s1", 4, 3, True, 27000, 1000, None, None, Noted(STORED), None, Noted(8000)),
        ("s1", 5, 1, False, 32000, 32000, None, None, Noted(STORED), None, Noted(7000)),
        ("s2", 0, 2, False, -1000, -1000, 250, 750, Noted(STORED), Noted(30750), Noted(31000)),
        ("s3", 0, 1, None, None, None, None, None, Noted(STORED), None, None),
        ("s4", 0, 1, None, 1000, 1000, None, None, Noted(STORED), None, Noted(39000)),
        *[("s5", seq, 1, True, *2 * [None if ns is None else 1000 * (201 + seq) - (ns - NS) // 10**6], None, None,
           Noted(STORED), None, Noted(-1000 * (161 + seq))) for seq, _, _, ns in TOLD],
    ]),
    "duplicate_records": ("agent_id, epoch, stream, seq, record_index, copies, first_table, last_table", [
        ("pi", "00000000000000e1", "raw", 3, 1, 2, "ACTIVITY_RECORDS", "ACTIVITY_RECORDS"),
        ("pi2", "00000000000000e2", "raw", 1, 0, 2, "ACTIVITY_RECORDS", "ACTIVITY_RECORDS"),
    ]),
    "duplicate_offsets": ("topic, kafka_partition, kafka_offset, copies, first_table", [
        ("raw_sensor_data", 1, 7, 2, "ACTIVITY_RECORDS"),
    ]),
    "unnamed_records": ("table_name, records, first_received_at, last_received_at", [
        ("ACTIVITY_RECORDS", 2, at(1), at(1)),
    ]),
    "message_holes": ("device_id, session_id, after_message_id, before_message_id, missing, after_received_at, "
                      "before_received_at", [
        ("d1", "s1", 1, 4, 2, at(31), at(32)),
    ]),
    "late_readings": ("device_id, session_id, readings, late, late_share", [
        ("d1", "s1", 6, 1, 0.1667),
        ("d2", "s2", 2, 0, 0),
    ]),
    "clock_skew": ("device_id, session_id, agent_id, pushes, unsynced_pushes, ahead_pushes, least_ms, mean_ms, "
                   "greatest_ms", [
        ("d1", "s1", "pi", 4, 1, 0, 1000, 8750, 32000),
        ("d2", "s2", "pi2", 1, 1, 1, -1000, -1000, -1000),
        ("d3", "s3", None, 1, 0, 0, None, None, None),
        ("d4", "s4", "pi2", 1, 0, 0, 1000, 1000, 1000),
        ("d5", "s5", "pi3", 18, 0, 0, 500, 16063 / 17, 1000),
    ]),
    "data_quality": ("check_name, findings", [
        ("duplicate_records", 2), ("duplicate_offsets", 1), ("unnamed_records", 2), ("message_holes", 2),
        ("late_readings", 1), ("clock_skew", 1), ("stream_gaps", 2 * 2**63),
    ]),
}
