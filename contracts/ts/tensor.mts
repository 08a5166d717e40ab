/**
 * Values on their way to a model and back: numbers <-> fixed-point integers <-> bytes.
 *
 * Fixed point: `integer = value * 2**scale`, rounded half away from zero. Bytes are hex with 0x:
 * packed is big-endian two's complement, `width` bytes an element; text is decimal numbers in ASCII.
 */

import { InferenceError } from "./errors.mjs";
import { rowOf } from "./rows.mjs";

/** Bytes in hex, as ethers and viem have them. */
export type Hex = `0x${string}`;

/** A whole number in any of JavaScript's two forms. */
export type Integer = number | bigint;

/** A flat tensor, as `getModel` of the registry gives it. */
export interface Tensor {
  /** How many one row has. */
  readonly elements: Integer;
  /** Bytes of a packed element, 1 to 32. */
  readonly width: Integer;
  /** Fractional bits. */
  readonly scale: Integer;
  /** Least and greatest integer that the circuit accepts. */
  readonly minimum: Integer;
  readonly maximum: Integer;
}

/** Least and greatest integer of one element. */
export type Range = readonly [Integer, Integer];

export interface Coding {
  /** The model's: `PACKED` (0) unless said otherwise, or `TEXT` (1). */
  readonly codec?: Integer;
}

export interface Encoding extends Coding {
  /** Of each element of a row, where the model has an `inputChecker`; else the tensor's holds. */
  readonly ranges?: readonly Range[];
}

export const PACKED = 0;
export const TEXT = 1;

/** Most digits of a text number: before its point in a request and in a result, and after it. */
const WHOLE_DIGITS = 38;
const RESULT_WHOLE_DIGITS = 77;
const FRACTION_DIGITS = 18;
/** Fraction digits of a text result. */
const RESULT_DIGITS = 6;
const SEPARATOR = /[, [\]\n\r]/;
const NUMBER = /([+-]?)([0-9]+)(?:\.([0-9]*))?/y;

/** The bytes that ask a model: those of one row of numbers. */
export function encode(
  values: Iterable<Integer>,
  tensor: Tensor,
  { codec = PACKED, ranges }: Encoding = {},
): Hex {
  const integers = rowOf(values).map((value, index) => fixed(value, index, tensor.scale));
  check(integers, tensor, ranges);
  return isText(codec) ? fromLatin(texts(integers, tensor)) : pack(integers, tensor.width);
}

/** A value of a request. Inputs without fractional bits are of whole numbers alone. */
function fixed(value: Integer, index: number, scale: Integer): bigint {
  const integer = quantize(value, scale);
  if (Number(scale) === 0 && !Number.isInteger(Number(value))) {
    throw new InferenceError(
      "TENSOR_RANGE",
      `value ${index} is ${value}, and the model takes whole numbers`,
      { index, value: integer },
    );
  }
  return integer;
}

/** The bytes that ask a model for several rows at once. */
export function encodeRows(
  rows: Iterable<Iterable<Integer>>,
  tensor: Tensor,
  how: Encoding = {},
): Hex {
  const encoded = rowOf(rows).map((row) => encode(row, tensor, how).slice(2));
  if (encoded.length === 0) throw wrongLength(tensor, 0);
  return `0x${encoded.join(isText(how.codec ?? PACKED) ? "2c" : "")}`;
}

/** The numbers of a result, or of a request, of one row. */
export function decode(output: Hex | Uint8Array, tensor: Tensor, how: Coding = {}): number[] {
  const rows = decodeRows(output, tensor, how);
  if (rows.length !== 1) throw wrongLength(tensor, rows.length * Number(tensor.elements));
  return rows[0] as number[];
}

/** The numbers of a result of one row or more, row by row. */
export function decodeRows(
  output: Hex | Uint8Array,
  tensor: Tensor,
  { codec = PACKED }: Coding = {},
): number[][] {
  const numbers = isText(codec)
    ? decimals(latin(output), RESULT_WHOLE_DIGITS).map(({ text }) => Number(text))
    : unpack(output, tensor.width).map((integer) => dequantize(integer, tensor.scale));
  const each = Number(tensor.elements);
  if (numbers.length === 0 || numbers.length % each) throw wrongLength(tensor, numbers.length);
  return Array.from({ length: numbers.length / each }, (_, row) =>
    numbers.slice(row * each, (row + 1) * each),
  );
}

/** The integers that a circuit reads from request bytes; their length is checked, not their range. */
export function read(
  input: Hex | Uint8Array,
  tensor: Tensor,
  { codec = PACKED }: Coding = {},
): bigint[] {
  const integers = isText(codec)
    ? decimals(latin(input), WHOLE_DIGITS).map(({ digits, places }) =>
        divide(digits << BigInt(tensor.scale), 10n ** places),
      )
    : unpack(input, tensor.width);
  if (integers.length !== Number(tensor.elements)) throw wrongLength(tensor, integers.length);
  return integers;
}

/** Integers as the result bytes that the contract delivers. */
export function write(
  integers: Iterable<Integer>,
  tensor: Pick<Tensor, "width" | "scale">,
  { codec = PACKED }: Coding = {},
): Hex {
  if (!isText(codec)) return pack(integers, tensor.width);
  const numbers = Array.from(integers, (each) => decimal(whole(each), tensor.scale, RESULT_DIGITS));
  return fromLatin(numbers.join(","));
}

/** Throw unless there are as many integers as the tensor has, each in its range. */
export function check(
  integers: readonly Integer[],
  tensor: Tensor,
  ranges?: readonly Range[],
): void {
  const count = Number(tensor.elements);
  if (integers.length !== count) throw wrongLength(tensor, integers.length);
  if (ranges !== undefined && ranges.length !== count) {
    throw new InferenceError("USAGE", `there are ${ranges.length} ranges for ${count} elements`);
  }
  integers.forEach((each, index) => {
    const value = whole(each);
    const [low, high] = ranges?.[index] ?? [tensor.minimum, tensor.maximum];
    if (value < low || value > high) {
      const [shown, from, to] = [value, low, high].map((bound) => dequantize(bound, tensor.scale));
      throw new InferenceError(
        "TENSOR_RANGE",
        `value ${index} is ${shown}, outside [${from}, ${to}]`,
        { index, value },
      );
    }
  });
}

/** The fixed-point integer of a value, rounded half away from zero. */
export function quantize(value: Integer, scale: Integer): bigint {
  if (typeof value === "bigint") return value << BigInt(scale);
  if (typeof value !== "number") {
    const what = typeof value === "string" ? `the string ${JSON.stringify(value)}` : String(value);
    throw new InferenceError("TENSOR_ENCODING", `${what} is not a number`);
  }
  // A power of two changes no digit of a double; taking the whole part off leaves the rest exact.
  const scaled = Math.abs(value) * 2 ** Number(scale);
  if (!Number.isFinite(scaled)) {
    throw new InferenceError("TENSOR_RANGE", `${value} is not a finite number, or too large`);
  }
  const floor = Math.floor(scaled);
  const magnitude = BigInt(floor) + (scaled - floor >= 0.5 ? 1n : 0n);
  return value < 0 ? -magnitude : magnitude;
}

/** The real value of a fixed-point integer. */
export function dequantize(integer: Integer, scale: Integer): number {
  return Number(integer) * 2 ** -Number(scale);
}

/** Integers as packed bytes. */
export function pack(integers: Iterable<Integer>, width: Integer): Hex {
  const bits = 8 * byteCount(width);
  const packed = Array.from(integers, (each) => {
    const value = whole(each);
    if (BigInt.asIntN(bits, value) !== value) {
      throw new InferenceError("TENSOR_RANGE", `${value} does not fit ${width} bytes`, { value });
    }
    return BigInt.asUintN(bits, value).toString(16).padStart(bits / 4, "0");
  });
  return `0x${packed.join("")}`;
}

/** Packed bytes as integers. */
export function unpack(packed: Hex | Uint8Array, width: Integer): bigint[] {
  const digits = 2 * byteCount(width);
  const hex = hexOf(packed);
  if (hex.length % digits) {
    const bytes = hex.length / 2;
    throw new InferenceError("TENSOR_LENGTH", `${bytes} bytes are no elements of ${width} bytes`);
  }
  return Array.from({ length: hex.length / digits }, (_, index) =>
    BigInt.asIntN(4 * digits, BigInt(`0x${hex.slice(index * digits, (index + 1) * digits)}`)),
  );
}

/** Each as the shortest decimal that reads back as its integer. */
function texts(integers: readonly bigint[], tensor: Tensor): string {
  const numbers = integers.map((integer) => shortest(integer, tensor.scale));
  numbers.forEach((number, index) => {
    if (number.replace(/^-|\..*$/g, "").length > WHOLE_DIGITS) {
      throw new InferenceError(
        "TENSOR_RANGE",
        `value ${index} has more than ${WHOLE_DIGITS} digits in text`,
        { index },
      );
    }
  });
  return numbers.join(",");
}

function shortest(integer: bigint, scale: Integer): string {
  for (let digits = 0; digits < FRACTION_DIGITS; digits++) {
    const scaled = divide(integer * 10n ** BigInt(digits), 1n << BigInt(scale));
    if (divide(scaled << BigInt(scale), 10n ** BigInt(digits)) === integer) {
      return decimal(integer, scale, digits);
    }
  }
  return decimal(integer, scale, FRACTION_DIGITS);
}

/** `integer / 2**scale` with so many fraction digits, and no sign on zero. */
function decimal(integer: bigint, scale: Integer, digits: number): string {
  const scaled = divide(integer * 10n ** BigInt(digits), 1n << BigInt(scale));
  const text = (scaled < 0n ? -scaled : scaled).toString().padStart(digits + 1, "0");
  const point = text.length - digits;
  const fraction = digits ? `.${text.slice(point)}` : "";
  return `${scaled < 0n ? "-" : ""}${text.slice(0, point)}${fraction}`;
}

/** The quotient rounded half away from zero, of a positive denominator. */
function divide(numerator: bigint, denominator: bigint): bigint {
  const magnitude = numerator < 0n ? -numerator : numerator;
  const quotient = (2n * magnitude + denominator) / (2n * denominator);
  return numerator < 0n ? -quotient : quotient;
}

interface Decimal {
  readonly text: string;
  /** All of its digits as one integer, and how many of them stand after the point. */
  readonly digits: bigint;
  readonly places: bigint;
}

/** The numbers of a text, of which each byte is one character. */
function decimals(text: string, wholeDigits: number): Decimal[] {
  const found: Decimal[] = [];
  let position = skip(text, 0);
  while (position < text.length) {
    NUMBER.lastIndex = position;
    const match = NUMBER.exec(text);
    if (match === null) {
      throw misplaced(text, position + (/[+-]/.test(text.charAt(position)) ? 1 : 0));
    }
    const [all, sign = "", before = "", after] = match;
    const start = position + sign.length;
    limit(start, before, wholeDigits);
    const end = position + all.length;
    if (after === "") throw misplaced(text, end);
    limit(start + before.length + 1, after ?? "", FRACTION_DIGITS);
    position = skip(text, end);
    if (position === end && end < text.length) throw misplaced(text, end);
    const digits = BigInt(before + (after ?? ""));
    const places = BigInt(after?.length ?? 0);
    found.push({ text: all, digits: sign === "-" ? -digits : digits, places });
  }
  return found;
}

function skip(text: string, position: number): number {
  let next = position;
  while (next < text.length && SEPARATOR.test(text.charAt(next))) next++;
  return next;
}

function limit(start: number, digits: string, most: number): void {
  if (digits.length > most) {
    throw new InferenceError(
      "TENSOR_ENCODING",
      `byte ${start + most}: more than ${most} digits on one side of the point`,
      { position: start + most },
    );
  }
}

function misplaced(text: string, position: number): InferenceError {
  const found = position < text.length ? JSON.stringify(text.charAt(position)) : "the end";
  return new InferenceError("TENSOR_ENCODING", `byte ${position}: ${found} cannot stand here`, {
    position,
  });
}

function wrongLength(tensor: Tensor, count: number): InferenceError {
  return new InferenceError(
    "TENSOR_LENGTH",
    `the model's rows have ${tensor.elements} values, got ${count}`,
  );
}

function isText(codec: Integer): boolean {
  if (Number(codec) !== PACKED && Number(codec) !== TEXT) {
    throw new InferenceError("USAGE", `there is no codec ${codec}`);
  }
  return Number(codec) === TEXT;
}

function byteCount(width: Integer): number {
  const count = Number(width);
  if (!Number.isInteger(count) || count < 1 || count > 32) {
    throw new InferenceError("USAGE", `an element has 1 to 32 bytes, not ${width}`);
  }
  return count;
}

/** An integer of either form as one that is exact. */
function whole(value: Integer): bigint {
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new InferenceError("TENSOR_ENCODING", `${value} is not a whole number that is exact`);
  }
  return BigInt(value);
}

function hexOf(data: Hex | Uint8Array): string {
  if (ArrayBuffer.isView(data)) {
    return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  if (typeof data !== "string" || !/^0x[0-9a-f]*$/i.test(data) || data.length % 2) {
    throw new InferenceError("TENSOR_ENCODING", "these are no bytes in hex: 0x and two digits each");
  }
  return data.slice(2);
}

function latin(data: Hex | Uint8Array): string {
  return hexOf(data).replace(/../g, (pair) => String.fromCharCode(parseInt(pair, 16)));
}

function fromLatin(text: string): Hex {
  const bytes = Array.from(text, (character) => character.charCodeAt(0));
  return `0x${hexOf(Uint8Array.from(bytes))}`;
}
