// @ts-check
/** Formats numbers, lists and error messages for the page. */

/** @param {string} message @returns {string} the message with a capital letter and a full stop */
export function sentence(message) {
  const text = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

/** @param {number} share 0..1 @returns {string} */
export function percent(share) {
  return `${percentNumber(share)} %`;
}

/** @param {number} share 0..1 @returns {string} in percent, without the sign */
export function percentNumber(share) {
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

/** @param {number} n @returns {string} up to twelve as a word */
export function numberWord(n) {
  return ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"][n] ?? count(n);
}

/** @param {number} seconds @returns {string} */
export function duration(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 100 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** Progress, speed and time left. @param {{ done: number, total: number }} progress @param {number} seconds @returns {string} */
export function pace({ done, total }, seconds) {
  if (!done || !seconds) return `${count(done)} of ${pictures(total)}`;
  const speed = done / seconds;
  return `${count(done)} of ${pictures(total)} · ${speed < 10 ? speed.toFixed(1) : Math.round(speed)} per second · ${duration((total - done) / speed)} left`;
}

/** @param {readonly string[]} names @param {number} [most] @returns {string} "a, b and c"; of more than `most` names the first ones "and 3 more" */
export function listOf(names, most = Infinity) {
  const shown = names.length > most ? [...names.slice(0, most - 1), `${names.length - most + 1} more`] : names;
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
}
