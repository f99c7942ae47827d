// @ts-check
/**
 * A day of one phone as stretches of one activity each: told once by the agent, then extended window by window. Pure.
 *
 * - Stretches ascend and do not overlap; where nothing was heard is a gap.
 * - There are never more than MOST: then neighbours that touch become one, and only the picture loses detail.
 * - Seconds of each activity are counted apart and stay exact.
 */

/** @typedef {{activity: string, start: number, end: number}} Stretch Times in ms. */

/** Stretches held at most. */
export const MOST = 4000;

/** Windows slide by so much unless they tell. */
const SLIDE_MS = 2000;

export class Day {
  /** @type {Stretch[]} */ list = [];
  /** By activity. @type {Record<string, number>} */ seconds = {};
  #slide = SLIDE_MS;
  /** @type {number} */ #from;
  /** @type {number} */ #most;

  /** @param {number} from Its midnight, ms. @param {number} most */
  constructor(from, most = MOST) {
    [this.#from, this.#most] = [from, most];
  }

  /** Its midnight, ms. */
  get from() {
    return this.#from;
  }

  /** End of the last stretch, ms. @returns {number | null} */
  get end() {
    return this.list.at(-1)?.end ?? null;
  }

  /** @param {Stretch} stretch Whole or in part behind the last one; what overlaps is left out. */
  add({ activity, start, end }) {
    const begin = Math.max(start, this.#from, this.end ?? -Infinity);
    if (!(end > begin)) return;
    const last = this.list.at(-1);
    if (last && last.activity === activity && begin - last.end < 1) last.end = end;
    else this.list.push({ activity, start: begin, end });
    this.seconds[activity] = (this.seconds[activity] ?? 0) + (end - begin) / 1000;
    if (this.list.length > this.#most) this.list = coarser(this.list);
  }

  /**
   * A window that closed: it stands for the last slide of its span.
   * @param {{activity: string, start: number, end: number}} window
   */
  close({ activity, start, end }) {
    const apart = end - (this.end ?? -Infinity);
    const slide = Math.min(end - start, this.#slide);
    // Between two windows that follow one another nothing is missing.
    this.add({ activity, start: apart > 0 && apart <= slide * 1.5 ? end - apart : end - slide, end });
  }

  /** The stretch at that time. @param {number} ms @returns {Stretch | null} */
  at(ms) {
    const at = this.#before(ms);
    const found = this.list[at];
    return found && ms < found.end ? found : null;
  }

  /** The one after or before the time. @param {number} ms @param {1 | -1} step @returns {Stretch | null} */
  next(ms, step) {
    const at = this.#before(ms);
    const isIn = at >= 0 && ms < this.list[at].end;
    return this.list[step > 0 ? at + 1 : isIn ? at - 1 : at] ?? null;
  }

  /** Index of the last stretch that began by then. @param {number} ms @returns {number} */
  #before(ms) {
    let [low, high] = [0, this.list.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.list[middle].start <= ms) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/**
 * Half as many: of two that touch the longer one's activity. A gap between two is filled only where else too many would
 * be left.
 * @param {Stretch[]} list
 * @returns {Stretch[]}
 */
function coarser(list) {
  /** @type {Stretch[]} */ const made = [];
  for (let at = 0; at < list.length; at += 2) {
    const [a, b] = [list[at], list[at + 1]];
    if (!b) made.push(a);
    else if (b.start - a.end > Math.max(a.end - a.start, b.end - b.start) && made.length < at / 2 + 8) made.push(a, b);
    else
      made.push({ activity: a.end - a.start < b.end - b.start ? b.activity : a.activity, start: a.start, end: b.end });
  }
  return made;
}
