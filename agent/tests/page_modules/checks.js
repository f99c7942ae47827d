// @ts-check
// What the page's pure modules promise. The title of the document says how it went.
import { Bins, Edge, Line } from "./series.js";
import { Day } from "./stretches.js";
import * as words from "./words.js";

/** @type {string[]} */ const broken = [];
let checks = 0;

/** @param {string} promise @param {unknown} found @param {unknown} expected */
function same(promise, found, expected) {
  checks += 1;
  const [is, should] = [JSON.stringify(found), JSON.stringify(expected)];
  if (is !== should) broken.push(`${promise}: ${is}, not ${should}`);
}

const binsOf = (/** @type {Bins} */ bins, /** @type {number} */ from, /** @type {number} */ to) => {
  /** @type {number[][]} */ const found = [];
  bins.each(from, to, (...bin) => found.push(bin));
  return found;
};

const T0 = 1_700_000_000_000;

{
  const told = JSON.parse(document.getElementById("told")?.textContent ?? "");
  for (const [kind, cases] of Object.entries(told)) {
    for (const [number, text] of cases) same(`${kind} of ${number}`, words[kind](number), text);
  }
  same("an activity is the word", words.activityWord("walking", true), "Walking");
  same("a silent phone does not record", words.activityWord(null, false), "Not recording");
}

{
  const bins = new Bins(16);
  bins.add(T0 + 100, 2, 3);
  bins.add(T0, 1, 5);
  bins.add(T0 + 130, 1, 2);
  const merged = [
    [T0, 1, 5],
    [T0 + 100, 1, 3],
  ];
  same("bins come in any order and halves of one are one", binsOf(bins, T0, T0 + 1000), merged);
  same("a bin that is no number is left out", (bins.add(T0 + 200, NaN, 1), bins.last), T0 + 100);
  for (let ms = 0; ms < 10_000; ms += 100) bins.add(T0 + ms, 1, 1);
  same("a ring holds no more than it has slots", binsOf(bins, T0, T0 + 10_000).length, 16);
  same(
    "what a ring let go of is not put over what is newer",
    (bins.add(T0, 9, 9), bins.range(T0, T0 + 10_000)),
    [1, 1],
  );
  bins.add(T0 - 86_400_000, 4, 4);
  same("a phone's clock may be set back", bins.last, T0 - 86_400_000);
}

{
  const line = new Line(8, 180);
  for (let ms = 0; ms < 100_000; ms += 1000) line.add(T0 + ms, ms);
  /** @type {number[]} */ const found = [];
  line.each(T0 + 95_500, T0 + 97_500, (ms) => found.push(ms - T0));
  same("a line is told from before to behind what is seen", found, [95_000, 96_000, 97_000, 98_000]);
  const dense = new Line(512, 180);
  for (let ms = 0; ms < 60_000; ms += 50) dense.add(T0 + ms, 1);
  let count = 0;
  dense.each(T0, T0 + 60_000, () => (count += 1));
  same("a minute of many pushes fits", count > 250 && count < 350, true);
}

{
  const edge = new Edge();
  same("without a push there is no edge", edge.at(0), null);
  let [before, worst, isBack] = [-Infinity, 0, false];
  for (let now = 0; now < 30_000; now += 20) {
    if (now % 1000 === 0) edge.arrive(T0 + now, now + (now % 3000 ? 0 : 80));
    const at = edge.at(now) ?? NaN;
    if (now > 3000) {
      worst = Math.max(worst, Math.abs(at - before - 20));
      isBack ||= at < before;
    }
    before = at;
  }
  same("the edge moves evenly while pushes come at uneven times", [worst < 8, isBack], [true, false]);
  const lag = T0 + 30_000 - before;
  same("it stands about one push behind", lag > 800 && lag < 2400, true);
  const fast = new Edge();
  for (let now = 0; now < 10_000; now += 100) fast.arrive(T0 + now * 10, now);
  same("a recording that is played ten times as fast moves so", Math.round(fast.pace), 10);
  same("a phone that falls silent scrolls out", (edge.at(100_000) ?? 0) > T0 + 90_000, true);
}

{
  const day = new Day(T0);
  const window = (/** @type {string} */ activity, /** @type {number} */ end) =>
    day.close({ activity, start: T0 + end - 10_000, end: T0 + end });
  for (let end = 2000; end <= 20_000; end += 2000) window("walking", end);
  for (let end = 22_000; end <= 30_000; end += 2000) window("running", end);
  window("running", 90_000);
  const found = day.list.map(({ activity, start, end }) => [activity, start - T0, end - T0]);
  const expected = [
    ["walking", 0, 20_000],
    ["running", 20_000, 30_000],
    ["running", 88_000, 90_000],
  ];
  same("each window stands for its last slide, neighbours are one, gaps stay", found, expected);
  same("seconds are counted", day.seconds, { walking: 20, running: 12 });
  window("sprinting", 24_000);
  same("a window told twice counts once", day.seconds, { walking: 20, running: 12 });
  same("what was when", [day.at(T0 + 25_000)?.activity, day.at(T0 + 50_000)], ["running", null]);
  same("the next one", day.next(T0 + 25_000, 1)?.end, T0 + 90_000);
  same("the one before", day.next(T0 + 50_000, -1)?.end, T0 + 30_000);

  const long = new Day(T0, 100);
  for (let at = 0; at < 43_200; at += 1) {
    const activity = words.ACTIVITIES[at % 4];
    long.close({ activity, start: T0 + at * 2000 - 8000, end: T0 + at * 2000 + 2000 });
  }
  same("a day of changes stays small", long.list.length <= 101, true);
  same("and loses no second", [long.seconds.walking, long.seconds.sprinting], [21_600, 21_600]);
  same("nor what is its end", long.end, T0 + 86_400_000);
  const ascends = long.list.every(({ start, end }, at) => start < end && (at === 0 || long.list[at - 1].end <= start));
  same("and stays in order", ascends, true);
}

document.title = broken.length ? broken.join("; ") : `${checks} checks hold`;
