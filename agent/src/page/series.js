// @ts-check
/**
 * What the chart draws of one phone, in rings of fixed size, and where its right edge stands. Pure.
 *
 * - Nothing here grows: a day later as many numbers are held as after the first minute.
 * - Bins may come late, twice or in any order.
 * - The edge never goes back, but for a phone whose clock does.
 */

/** Milliseconds of a bin. */
export const BIN_MS = 100;

/** What is so much older than the newest is not late: the phone's clock was set back. */
const SET_BACK_MS = 120_000;

/** The pace fades over so much of the browser's time. */
const FADE_MS = 4000;

/** Least and greatest of the magnitude in bins, by the phone's clock. */
export class Bins {
  #slots;
  /** @type {Float64Array} */ #times;
  /** @type {Float32Array} */ #low;
  /** @type {Float32Array} */ #high;
  /** Start of the newest bin, ms; null before the first. @type {number | null} */
  last = null;

  constructor(slots = 1024) {
    this.#slots = slots;
    this.#times = new Float64Array(slots).fill(NaN);
    this.#low = new Float32Array(slots);
    this.#high = new Float32Array(slots);
  }

  /** @param {number} ms @param {number} low @param {number} high */
  add(ms, low, high) {
    if (![ms, low, high].every(Number.isFinite)) return;
    const number = Math.floor(ms / BIN_MS);
    const [at, time] = [((number % this.#slots) + this.#slots) % this.#slots, number * BIN_MS];
    const known = this.#times[at];
    if (known > time && this.last !== null && this.last - time < SET_BACK_MS) return;
    const isSame = known === time;
    this.#times[at] = time;
    this.#low[at] = isSame ? Math.min(this.#low[at], low) : low;
    this.#high[at] = isSame ? Math.max(this.#high[at], high) : high;
    if (this.last === null || time > this.last || this.last - time >= SET_BACK_MS) this.last = time;
  }

  /**
   * Bins that begin from `from` to `to`, in order.
   * @param {number} from
   * @param {number} to
   * @param {(ms: number, low: number, high: number) => void} visit
   */
  each(from, to, visit) {
    const end = Math.floor(Math.min(to, this.last ?? -Infinity) / BIN_MS);
    const first = Math.max(Math.ceil(from / BIN_MS), end - this.#slots + 1);
    for (let number = first; number <= end; number += 1) {
      const at = ((number % this.#slots) + this.#slots) % this.#slots;
      if (this.#times[at] === number * BIN_MS) visit(number * BIN_MS, this.#low[at], this.#high[at]);
    }
  }

  /**
   * Least and greatest from `from` to `to`.
   * @param {number} from
   * @param {number} to
   * @returns {[number, number] | null}
   */
  range(from, to) {
    let [least, greatest] = [Infinity, -Infinity];
    this.each(from, to, (_, low, high) => {
      least = Math.min(least, low);
      greatest = Math.max(greatest, high);
    });
    return least <= greatest ? [least, greatest] : null;
  }
}

/** Points of a line, ascending. */
export class Line {
  /** @type {number} */ #slots;
  /** @type {number} */ #apart;
  #count = 0;
  /** @type {Float64Array} */ #times;
  /** @type {Float32Array} */ #values;

  /** @param {number} slots @param {number} apart Of points less than so many ms apart the last stands. */
  constructor(slots = 512, apart = 180) {
    [this.#slots, this.#apart] = [slots, apart];
    this.#times = new Float64Array(slots);
    this.#values = new Float32Array(slots);
  }

  /** @returns {{ms: number, value: number} | null} */
  get last() {
    const at = (this.#count - 1) % this.#slots;
    return this.#count ? { ms: this.#times[at], value: this.#values[at] } : null;
  }

  /** @param {number} ms @param {number} value */
  add(ms, value) {
    if (!Number.isFinite(ms) || !Number.isFinite(value)) return;
    const last = this.last;
    if (last && ms < last.ms) {
      if (last.ms - ms < SET_BACK_MS) return;
      this.#count = 0;
    }
    const before = this.#count > 1 ? this.#times[(this.#count - 2) % this.#slots] : -Infinity;
    if (last && last.ms - before < this.#apart) this.#count -= 1;
    this.#times[this.#count % this.#slots] = ms;
    this.#values[this.#count % this.#slots] = value;
    this.#count += 1;
    if (this.#count >= this.#slots * 2) this.#count -= this.#slots;
  }

  /**
   * Points from the last one before `from` to the first one behind `to`.
   * @param {number} from
   * @param {number} to
   * @param {(ms: number, value: number) => void} visit
   */
  each(from, to, visit) {
    const first = Math.max(0, this.#count - this.#slots);
    for (let number = first; number < this.#count; number += 1) {
      const isBefore = number + 1 < this.#count && this.#times[(number + 1) % this.#slots] < from;
      if (isBefore) continue;
      const ms = this.#times[number % this.#slots];
      visit(ms, this.#values[number % this.#slots]);
      if (ms > to) return;
    }
  }
}

/**
 * Time of the phone at the chart's right edge. What a push brings comes into view at the pace at which it was measured,
 * so the edge stands as far behind the newest bin as pushes are apart.
 */
export class Edge {
  /** @type {number | null} */ #newest = null;
  #arrived = 0;
  /** Milliseconds of the phone between pushes. */ #apart = 1000;
  /** Phone's milliseconds and the browser's that they took, both fading. */ #took = [0, 0];
  /** @type {number | null} */ #edge = null;
  #edgeAt = 0;

  /** Phone's time for the browser's; a recording may be played fast. */
  get pace() {
    const [phone, here] = this.#took;
    const pace = here > 1500 ? Math.min(60, Math.max(0.2, phone / here)) : 1;
    return Math.abs(pace - 1) < 0.2 ? 1 : pace;
  }

  /**
   * A push came.
   * @param {number} newest End of its newest bin, ms of the phone.
   * @param {number} now Ms of the browser.
   */
  arrive(newest, now) {
    if (this.#newest !== null && newest <= this.#newest) {
      if (this.#newest - newest < SET_BACK_MS) return;
      [this.#edge, this.#took] = [null, [0, 0]];
    } else if (this.#newest !== null) {
      const [phone, here] = [newest - this.#newest, Math.max(1, now - this.#arrived)];
      if (phone < 10_000 || phone / here < 60) {
        const kept = Math.exp(-here / FADE_MS);
        this.#took = [this.#took[0] * kept + phone, this.#took[1] * kept + here];
        this.#apart = Math.min(6000, Math.max(phone, this.#apart * 0.9, 200));
      } else {
        [this.#edge, this.#took] = [null, [0, 0]];
      }
    }
    [this.#newest, this.#arrived] = [newest, now];
  }

  /** Where the edge stands. @param {number} now Ms of the browser. @returns {number | null} */
  at(now) {
    if (this.#newest === null) return null;
    const pace = this.pace;
    const wanted = this.#newest - this.#apart * 1.1 + (now - this.#arrived) * pace;
    if (this.#edge === null || Math.abs(wanted - this.#edge) > 4000 * Math.max(1, pace)) {
      this.#edge = wanted;
    } else {
      const passed = Math.max(0, now - this.#edgeAt);
      const next = this.#edge + passed * pace;
      this.#edge = Math.max(this.#edge, next + (wanted - next) * (1 - Math.exp(-passed / 800)));
    }
    this.#edgeAt = now;
    return this.#edge;
  }

  /** The newest bin of the phone, ms; null before the first push. @returns {number | null} */
  get newest() {
    return this.#newest;
  }
}
