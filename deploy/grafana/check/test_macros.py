"""Macros and variables, held against examples of the plugins' own tests and documentation."""

import unittest

from check.macros import (
    MacroError, Range, expand_postgres, expand_snowflake, expand_snowflake_community, expand_sqlite, rfc3339,
)
from check.variables import ALL, UnknownVariable, Variable, interpolate, interval_ms, interval_text, sqlstring

# 2018-04-12 18:00:00 to 18:05:00, and so with a fraction.
SPAN = Range(1_523_556_000_000, 1_523_556_300_000, 60_000)
CUT = Range(1_523_556_000_120, 1_523_556_300_007, 60_000)


class Texts(unittest.TestCase):
    def test_moments(self):
        self.assertEqual(rfc3339(1_523_556_000_000), "2018-04-12T18:00:00Z")
        self.assertEqual(rfc3339(1_523_556_000_120), "2018-04-12T18:00:00.12Z")
        self.assertEqual(rfc3339(1_523_556_000_007), "2018-04-12T18:00:00.007Z")


class Postgres(unittest.TestCase):
    def same(self, sql, wanted, span=SPAN):
        self.assertEqual(expand_postgres(sql, span), wanted)

    def test_range(self):
        self.same("WHERE $__timeFilter(time_column)",
                  "WHERE time_column BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z'")
        self.same("$__timeFrom()::timestamp - $__timeTo()", "'2018-04-12T18:00:00.12Z'::timestamp - '2018-04-12T18:05:00.007Z'",
                  CUT)
        self.same("$__unixEpochNanoFrom() / $__unixEpochNanoTo()", "1523556000120000000 / 1523556300007000000", CUT)
        self.same("$__unixEpochFrom() $__unixEpochTo()", "1523556000 1523556300", CUT)
        self.same("$__unixEpochFilter(c)", "c >= 1523556000 AND c <= 1523556300")

    def test_groups(self):
        self.same("$__timeGroup(c,'5m')", "floor(extract(epoch from c)/300)*300")
        self.same("$__timeGroupAlias(c , '1ms')", 'floor(extract(epoch from c)/0.001)*0.001 AS "time"')
        self.same("$__time(c)", 'c AS "time"')

    def test_refuses(self):
        with self.assertRaises(MacroError):
            expand_postgres("$__never(c)", SPAN)
        with self.assertRaises(MacroError):
            expand_postgres("$__timeGroup(c)", SPAN)

    def test_brackets(self):
        """The expression ends at the first closing bracket, whatever it closes."""
        self.same("$__timeFilter(to_timestamp(c))",
                  "to_timestamp(c BETWEEN '2018-04-12T18:00:00Z' AND '2018-04-12T18:05:00Z')")


class Sqlite(unittest.TestCase):
    def test_range(self):
        self.assertEqual(expand_sqlite("$__from $__to", CUT), "1523556000000 1523556300000")
        self.assertIn("END AS INTEGER) BETWEEN 1523556000 AND 1523556300", expand_sqlite("$__timeFilter(c)", SPAN))

    def test_groups(self):
        self.assertEqual(expand_sqlite("$__unixEpochGroupSeconds(c, 60)", SPAN), "cast((c / 60) as int) * 60")

    def test_leaves_others(self):
        self.assertEqual(expand_sqlite("$__never(c)", SPAN), "$__never(c)")


class Community(unittest.TestCase):
    def same(self, sql, wanted, span=SPAN):
        self.assertEqual(expand_snowflake_community(sql, span), wanted)

    def test_range(self):
        self.same("$__timeFilter(c)", "c > CONVERT_TIMEZONE('UTC', 'UTC', '2018-04-12T18:00:00Z'::timestamp_ntz) AND "
                                      "c < CONVERT_TIMEZONE('UTC', 'UTC', '2018-04-12T18:05:00Z'::timestamp_ntz)")
        self.same("$__timeFrom()", "'2018-04-12T18:00:00.12Z'", CUT)
        self.same("$__unixEpochNanoFrom()", "1523556000120000000", CUT)
        self.same("$__timeGroup(c,'5m')", "TIME_SLICE(TO_TIMESTAMP_NTZ(c), 300, 'SECOND', 'START')")

    def test_refuses(self):
        with self.assertRaises(MacroError):
            expand_snowflake_community("$__unixEpochFrom()", SPAN)


class Official(unittest.TestCase):
    def test_range(self):
        self.assertEqual(expand_snowflake("$__timeFilter(c)", CUT),
                         "c >= '2018-04-12T18:00:00Z' AND c <= '2018-04-12T18:05:00Z'")

    def test_offers_no_numbers(self):
        with self.assertRaises(MacroError):
            expand_snowflake("$__unixEpochNanoFrom()", SPAN)


class Variables(unittest.TestCase):
    def phone(self, *values):
        return [Variable("phone", list(values), True, "device_id")]

    def test_sqlstring(self):
        self.assertEqual(sqlstring(["a", "o'hara"]), "'a','o''hara'")
        self.assertEqual(sqlstring('say "so"'), "'say \\\"so\\\"'")

    def test_several(self):
        sql = "IN (${phone:sqlstring})"
        self.assertEqual(interpolate(sql, self.phone("a", "b"), {}), "IN ('a','b')")
        self.assertEqual(interpolate(sql, self.phone("a"), {}), "IN ('a')")

    def test_all_is_not_formatted(self):
        self.assertEqual(interpolate("IN (${phone:sqlstring})", self.phone(ALL), {}), "IN (device_id)")

    def test_spellings(self):
        one = [Variable("zone", ["UTC"])]
        self.assertEqual(interpolate("$zone ${zone} [[zone]] ${zone:sqlstring}", one, {}), "UTC UTC UTC 'UTC'")
        self.assertEqual(interpolate("var=${zone:queryparam}", one, {}), "var=var-zone=UTC")

    def test_grafanas_own(self):
        scoped = {"__from": "1", "__interval_ms": "200"}
        self.assertEqual(interpolate("$__from + $__interval_ms, $__timeFrom()", [], scoped), "1 + 200, $__timeFrom()")

    def test_unknown(self):
        with self.assertRaises(UnknownVariable):
            interpolate("$never", [], {})

    def test_intervals(self):
        hour = 3_600_000
        self.assertEqual(interval_ms(0, hour, 1_000), 5_000)
        self.assertEqual(interval_ms(0, hour, 1_000, "1m"), 60_000)
        self.assertEqual(interval_ms(0, 1_000, 1_500, "10ms"), 10)
        self.assertEqual(interval_ms(0, 24 * hour, 300), 300_000)
        self.assertEqual(interval_text(300_000), "5m")
        self.assertEqual(interval_text(200), "200ms")


if __name__ == "__main__":
    unittest.main()
