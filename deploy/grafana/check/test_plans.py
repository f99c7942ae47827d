"""Whether the check sees that SQLite reads a table whole."""

import sqlite3
import unittest

from check.plans import sqlite_scans


class Scans(unittest.TestCase):
    def setUp(self):
        self.connection = sqlite3.connect(":memory:")
        self.connection.executescript("""
            CREATE TABLE activity_records (t INTEGER, d TEXT);
            CREATE INDEX by_t ON activity_records (t);
            CREATE TABLE user_activity_processed (d TEXT, s INTEGER, r INTEGER);
            CREATE INDEX by_d ON user_activity_processed (d, s, r);
            CREATE TABLE gaps (t INTEGER);
            CREATE VIEW last AS SELECT * FROM user_activity_processed AS w WHERE NOT EXISTS
              (SELECT 1 FROM user_activity_processed AS l WHERE l.d = w.d AND l.s = w.s AND l.r > w.r);
            CREATE VIEW both AS SELECT 'a' AS kind, t, d FROM activity_records
              UNION ALL SELECT 'b', NULL, d FROM user_activity_processed;
        """)

    def test_seen(self):
        for sql in ("SELECT * FROM activity_records WHERE d = 'x'", "SELECT COUNT(*) FROM activity_records",
                    "SELECT MAX(_rowid_) - MIN(_rowid_) FROM activity_records", "SELECT * FROM last ORDER BY s LIMIT 2",
                    "WITH a AS (SELECT * FROM both) SELECT COUNT(*) FROM a WHERE kind = 'b'"):
            self.assertTrue(sqlite_scans(self.connection, sql), sql)

    def test_bounded(self):
        for sql in ("SELECT * FROM activity_records WHERE t BETWEEN 1 AND 2", "SELECT MIN(_rowid_) FROM activity_records",
                    "SELECT (SELECT MAX(_rowid_) FROM activity_records) - (SELECT MIN(_rowid_) FROM activity_records)",
                    "SELECT * FROM last WHERE d = 'x'", "SELECT * FROM gaps",
                    "SELECT COUNT(*) FROM both WHERE kind = 'a' AND t BETWEEN 1 AND 2"):
            self.assertEqual(sqlite_scans(self.connection, sql), [], sql)


if __name__ == "__main__":
    unittest.main()
