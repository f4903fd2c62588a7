// @ts-check
/** Generates PNG test pictures (RFC 2083, without filters). */
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

/** Bit depth and colour type. */
const RGB = [8, 2];
const ONE_BIT_GREY = [1, 0];

/** A black PNG with one bit per pixel; it compresses to almost nothing. @param {number} width @param {number} height @returns {Buffer} */
export function black(width, height) {
  return encode(width, height, ONE_BIT_GREY, Buffer.alloc(height * (1 + Math.ceil(width / 8))));
}

/** A PNG with less data than its header claims. @param {number} width @param {number} height @returns {Buffer} */
export function claim(width, height) {
  return encode(width, height, RGB, Buffer.alloc(1));
}

/** @param {number} width @param {number} height @param {number[]} format @param {Buffer} lines @returns {Buffer} */
function encode(width, height, format, lines) {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set(format, 8);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(lines)),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

/** A small picture, different for each seed. @param {number} seed @returns {Buffer} */
export function stripes(seed) {
  return png(48, 32, (x, y) => [(x * (seed + 3)) % 256, (y * 7 + seed * 31) % 256, ((x + y) * seed) % 256]);
}

/** @param {string} type @param {Buffer} data @returns {Buffer} */
export function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const bytes = Buffer.alloc(body.length + 8);
  bytes.writeUInt32BE(data.length, 0);
  bytes.set(body, 4);
  bytes.writeUInt32BE(crc32(body), body.length + 4);
  return bytes;
}
