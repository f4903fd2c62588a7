// @ts-check
/** Pictures made on the spot, so that no fixture has to be kept: PNG as RFC 2083 has it, no filter. */
import { crc32, deflateSync } from "node:zlib";

/**
 * A PNG whose pixel at (x, y) is colour(x, y).
 * @param {number} width @param {number} height @param {(x: number, y: number) => [number, number, number]} colour @returns {Buffer}
 */
export function png(width, height, colour) {
  const lines = Buffer.alloc(height * (1 + 3 * width));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) lines.set(colour(x, y), y * (1 + 3 * width) + 1 + 3 * x);
  }
  return encode(width, height, RGB, lines);
}

/** Bits of a sample, and the colour type. */
const RGB = [8, 2];
const BLACK_OR_WHITE = [1, 0];

/** A PNG that is black all over: a bit for a pixel, and of them hardly any packed. @param {number} width @param {number} height @returns {Buffer} */
export function black(width, height) {
  return encode(width, height, BLACK_OR_WHITE, Buffer.alloc(height * (1 + Math.ceil(width / 8))));
}

/** A PNG that has less than it says. @param {number} width @param {number} height @returns {Buffer} */
export function claim(width, height) {
  return encode(width, height, RGB, Buffer.alloc(1));
}

/** @param {number} width @param {number} height @param {number[]} kind @param {Buffer} lines @returns {Buffer} */
function encode(width, height, kind, lines) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set(kind, 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(lines)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** A small picture that differs for each seed. @param {number} seed @returns {Buffer} */
export function stripes(seed) {
  return png(48, 32, (x, y) => [(x * (seed + 3)) % 256, (y * 7 + seed * 31) % 256, ((x + y) * seed) % 256]);
}

/** A piece of a PNG. @param {string} type @param {Buffer} data @returns {Buffer} */
export function chunk(type, data) {
  const named = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const frame = Buffer.alloc(named.length + 8);
  frame.writeUInt32BE(data.length, 0);
  frame.set(named, 4);
  frame.writeUInt32BE(crc32(named), named.length + 4);
  return frame;
}
