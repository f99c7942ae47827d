"""The pushes hold what they are to show: an expectation of nothing but zeros would prove nothing."""

import unittest

from check import quality, scenario
from check.situations import Ask, situations
from check.truth import Truth, distance, steps


class Query:
    kind, dashboard, source, panel, model = "panel", "pipeline", "postgres", {}, {}


class Scenario(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.truth = Truth(scenario.moment_ms("2026-01-05T12:00:00"))

    def ask(self, name):
        found = next(one for one in situations(self.truth.now_ms) if one.name == name)
        return Ask(Query, found, self.truth, None)

    def test_troubles(self):
        late = {one.session: one.late for one in quality.lateness(self.ask("fortnight"))}
        self.assertGreater(late["s-troubled-05"], 600)
        self.assertEqual(late["s-full-0003"], 0)
        self.assertEqual(sum(one.missing for one in quality.holes(self.ask("fortnight"))), 4)
        troubled = next(one for one in self.truth.sessions if one.session == "s-troubled-05")
        self.assertEqual(len(troubled.pushes), len(troubled.accepted) + 1)
        self.assertEqual([push.message_id for push in troubled.accepted].count(None), 1)

    def test_windows(self):
        again = {one.revision for one in self.truth.windows if one.device == scenario.RECLASSIFIED}
        self.assertEqual(again, {1})
        self.assertEqual({one.activity for one in self.truth.windows}, {"stationary", "walking", "running", "sprinting"})

    def test_ways_and_steps(self):
        rows = self.truth.by_session["phone-1", "s-full-0003"]
        self.assertTrue(200 < distance(rows) < 700)
        self.assertTrue(200 < steps(rows) < 400)

    def test_same_at_every_run(self):
        one, two = (next(iter(scenario.past())).pushes[3].body for _ in range(2))
        self.assertEqual(one, two)


if __name__ == "__main__":
    unittest.main()
