// @ts-check
/** Numbers and errors in words, the same everywhere on the page. */

/** @param {string} message @returns {string} an error's message with a capital and a full stop */
export function sentence(message) {
  const words = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(words) ? words : `${words}.`;
}

/** @param {number} share 0..1 @returns {string} */
export function percent(share) {
  return `${hundredths(share)} %`;
}

/** @param {number} share @returns {string} */
export function hundredths(share) {
  return (share * 100).toFixed(1);
}

/** @param {number} bytes @returns {string} */
export function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

/** @param {number} n @returns {string} */
export function pictures(n) {
  return n === 1 ? "1 picture" : `${count(n)} pictures`;
}

/** @param {number} n @returns {string} */
export function count(n) {
  return n.toLocaleString("en");
}

/** @param {number} n @returns {string} */
export function inWords(n) {
  return ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"][n] ?? count(n);
}

/** @param {number} seconds @returns {string} */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** How far, how fast, how long still. @param {{ done: number, total: number }} of @param {number} seconds @returns {string} */
export function pace({ done, total }, seconds) {
  if (!done || !seconds) return `${count(done)} of ${pictures(total)}`;
  const speed = done / seconds;
  return `${count(done)} of ${pictures(total)} · ${speed < 10 ? speed.toFixed(1) : Math.round(speed)} a second · ${duration((total - done) / speed)} left`;
}

/** @param {readonly string[]} names @param {number} [most] @returns {string} "a, b and c"; of more than `most` names the first ones "and 3 more" */
export function listOf(names, most = Infinity) {
  const shown = names.length > most ? [...names.slice(0, most - 1), `${names.length - most + 1} more`] : names;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}
