"use strict";
/**
 * Values on their way to a model and back: numbers <-> fixed-point integers <-> bytes.
 *
 * Fixed point: `integer = value * 2**scale`, rounded half away from zero. Bytes are hex with 0x:
 * packed is big-endian two's complement, `width` bytes an element; text is decimal numbers in ASCII.
 */
Object.defineProperty(exports, "__esModule", { value: true });
exports.TEXT = exports.PACKED = void 0;
exports.encode = encode;
exports.encodeRows = encodeRows;
exports.decode = decode;
exports.decodeRows = decodeRows;
exports.read = read;
exports.write = write;
exports.check = check;
exports.quantize = quantize;
exports.dequantize = dequantize;
exports.pack = pack;
exports.unpack = unpack;
const errors_cjs_1 = require("./errors.cjs");
const rows_cjs_1 = require("./rows.cjs");
exports.PACKED = 0;
exports.TEXT = 1;
/** Most digits of a text number: before its point in a request and in a result, and after it. */
const WHOLE_DIGITS = 38;
const RESULT_WHOLE_DIGITS = 77;
const FRACTION_DIGITS = 18;
/** Fraction digits of a text result. */
const RESULT_DIGITS = 6;
const SEPARATOR = /[, [\]\n\r]/;
const NUMBER = /([+-]?)([0-9]+)(?:\.([0-9]*))?/y;
/** The bytes that ask a model: those of one row of numbers. */
function encode(values, tensor, { codec = exports.PACKED, ranges } = {}) {
    const integers = (0, rows_cjs_1.rowOf)(values).map((value, index) => fixed(value, index, tensor.scale));
    check(integers, tensor, ranges);
    return isText(codec) ? fromLatin(texts(integers, tensor)) : pack(integers, tensor.width);
}
/** A value of a request. Inputs without fractional bits are of whole numbers alone. */
function fixed(value, index, scale) {
    const integer = quantize(value, scale);
    if (Number(scale) === 0 && !Number.isInteger(Number(value))) {
        throw new errors_cjs_1.InferenceError("TENSOR_RANGE", `value ${index} is ${value}, and the model takes whole numbers`, { index, value: integer });
    }
    return integer;
}
/** The bytes that ask a model for several rows at once. */
function encodeRows(rows, tensor, how = {}) {
    const encoded = (0, rows_cjs_1.rowOf)(rows).map((row) => encode(row, tensor, how).slice(2));
    if (encoded.length === 0)
        throw wrongLength(tensor, 0);
    return `0x${encoded.join(isText(how.codec ?? exports.PACKED) ? "2c" : "")}`;
}
/** The numbers of a result, or of a request, of one row. */
function decode(output, tensor, how = {}) {
    const rows = decodeRows(output, tensor, how);
    if (rows.length !== 1)
        throw wrongLength(tensor, rows.length * Number(tensor.elements));
    return rows[0];
}
/** The numbers of a result of one row or more, row by row. */
function decodeRows(output, tensor, { codec = exports.PACKED } = {}) {
    const numbers = isText(codec)
        ? decimals(latin(output), RESULT_WHOLE_DIGITS).map(({ text }) => Number(text))
        : unpack(output, tensor.width).map((integer) => dequantize(integer, tensor.scale));
    const each = Number(tensor.elements);
    if (numbers.length === 0 || numbers.length % each)
        throw wrongLength(tensor, numbers.length);
    return Array.from({ length: numbers.length / each }, (_, row) => numbers.slice(row * each, (row + 1) * each));
}
/** The integers that a circuit reads from request bytes; their length is checked, not their range. */
function read(input, tensor, { codec = exports.PACKED } = {}) {
    const integers = isText(codec)
        ? decimals(latin(input), WHOLE_DIGITS).map(({ digits, places }) => divide(digits << BigInt(tensor.scale), 10n ** places))
        : unpack(input, tensor.width);
    if (integers.length !== Number(tensor.elements))
        throw wrongLength(tensor, integers.length);
    return integers;
}
/** Integers as the result bytes that the contract delivers. */
function write(integers, tensor, { codec = exports.PACKED } = {}) {
    if (!isText(codec))
        return pack(integers, tensor.width);
    const numbers = Array.from(integers, (each) => decimal(whole(each), tensor.scale, RESULT_DIGITS));
    return fromLatin(numbers.join(","));
}
/** Throw unless there are as many integers as the tensor has, each in its range. */
function check(integers, tensor, ranges) {
    const count = Number(tensor.elements);
    if (integers.length !== count)
        throw wrongLength(tensor, integers.length);
    if (ranges !== undefined && ranges.length !== count) {
        throw new errors_cjs_1.InferenceError("USAGE", `there are ${ranges.length} ranges for ${count} elements`);
    }
    integers.forEach((each, index) => {
        const value = whole(each);
        const [low, high] = ranges?.[index] ?? [tensor.minimum, tensor.maximum];
        if (value < low || value > high) {
            const [shown, from, to] = [value, low, high].map((bound) => dequantize(bound, tensor.scale));
            throw new errors_cjs_1.InferenceError("TENSOR_RANGE", `value ${index} is ${shown}, outside [${from}, ${to}]`, { index, value });
        }
    });
}
/** The fixed-point integer of a value, rounded half away from zero. */
function quantize(value, scale) {
    if (typeof value === "bigint")
        return value << BigInt(scale);
    if (typeof value !== "number") {
        const what = typeof value === "string" ? `the string ${JSON.stringify(value)}` : String(value);
        throw new errors_cjs_1.InferenceError("TENSOR_ENCODING", `${what} is not a number`);
    }
    // A power of two changes no digit of a double; taking the whole part off leaves the rest exact.
    const scaled = Math.abs(value) * 2 ** Number(scale);
    if (!Number.isFinite(scaled)) {
        throw new errors_cjs_1.InferenceError("TENSOR_RANGE", `${value} is not a finite number, or too large`);
    }
    const floor = Math.floor(scaled);
    const magnitude = BigInt(floor) + (scaled - floor >= 0.5 ? 1n : 0n);
    return value < 0 ? -magnitude : magnitude;
}
/** The real value of a fixed-point integer. */
function dequantize(integer, scale) {
    return Number(integer) * 2 ** -Number(scale);
}
/** Integers as packed bytes. */
function pack(integers, width) {
    const bits = 8 * byteCount(width);
    const packed = Array.from(integers, (each) => {
        const value = whole(each);
        if (BigInt.asIntN(bits, value) !== value) {
            throw new errors_cjs_1.InferenceError("TENSOR_RANGE", `${value} does not fit ${width} bytes`, { value });
        }
        return BigInt.asUintN(bits, value).toString(16).padStart(bits / 4, "0");
    });
    return `0x${packed.join("")}`;
}
/** Packed bytes as integers. */
function unpack(packed, width) {
    const digits = 2 * byteCount(width);
    const hex = hexOf(packed);
    if (hex.length % digits) {
        const bytes = hex.length / 2;
        throw new errors_cjs_1.InferenceError("TENSOR_LENGTH", `${bytes} bytes are no elements of ${width} bytes`);
    }
    return Array.from({ length: hex.length / digits }, (_, index) => BigInt.asIntN(4 * digits, BigInt(`0x${hex.slice(index * digits, (index + 1) * digits)}`)));
}
/** Each as the shortest decimal that reads back as its integer. */
function texts(integers, tensor) {
    const numbers = integers.map((integer) => shortest(integer, tensor.scale));
    numbers.forEach((number, index) => {
        if (number.replace(/^-|\..*$/g, "").length > WHOLE_DIGITS) {
            throw new errors_cjs_1.InferenceError("TENSOR_RANGE", `value ${index} has more than ${WHOLE_DIGITS} digits in text`, { index });
        }
    });
    return numbers.join(",");
}
function shortest(integer, scale) {
    for (let digits = 0; digits < FRACTION_DIGITS; digits++) {
        const scaled = divide(integer * 10n ** BigInt(digits), 1n << BigInt(scale));
        if (divide(scaled << BigInt(scale), 10n ** BigInt(digits)) === integer) {
            return decimal(integer, scale, digits);
        }
    }
    return decimal(integer, scale, FRACTION_DIGITS);
}
/** `integer / 2**scale` with so many fraction digits, and no sign on zero. */
function decimal(integer, scale, digits) {
    const scaled = divide(integer * 10n ** BigInt(digits), 1n << BigInt(scale));
    const text = (scaled < 0n ? -scaled : scaled).toString().padStart(digits + 1, "0");
    const point = text.length - digits;
    const fraction = digits ? `.${text.slice(point)}` : "";
    return `${scaled < 0n ? "-" : ""}${text.slice(0, point)}${fraction}`;
}
/** The quotient rounded half away from zero, of a positive denominator. */
function divide(numerator, denominator) {
    const magnitude = numerator < 0n ? -numerator : numerator;
    const quotient = (2n * magnitude + denominator) / (2n * denominator);
    return numerator < 0n ? -quotient : quotient;
}
/** The numbers of a text, of which each byte is one character. */
function decimals(text, wholeDigits) {
    const found = [];
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
        if (after === "")
            throw misplaced(text, end);
        limit(start + before.length + 1, after ?? "", FRACTION_DIGITS);
        position = skip(text, end);
        if (position === end && end < text.length)
            throw misplaced(text, end);
        const digits = BigInt(before + (after ?? ""));
        const places = BigInt(after?.length ?? 0);
        found.push({ text: all, digits: sign === "-" ? -digits : digits, places });
    }
    return found;
}
function skip(text, position) {
    let next = position;
    while (next < text.length && SEPARATOR.test(text.charAt(next)))
        next++;
    return next;
}
function limit(start, digits, most) {
    if (digits.length > most) {
        throw new errors_cjs_1.InferenceError("TENSOR_ENCODING", `byte ${start + most}: more than ${most} digits on one side of the point`, { position: start + most });
    }
}
function misplaced(text, position) {
    const found = position < text.length ? JSON.stringify(text.charAt(position)) : "the end";
    return new errors_cjs_1.InferenceError("TENSOR_ENCODING", `byte ${position}: ${found} cannot stand here`, {
        position,
    });
}
function wrongLength(tensor, count) {
    return new errors_cjs_1.InferenceError("TENSOR_LENGTH", `the model's rows have ${tensor.elements} values, got ${count}`);
}
function isText(codec) {
    if (Number(codec) !== exports.PACKED && Number(codec) !== exports.TEXT) {
        throw new errors_cjs_1.InferenceError("USAGE", `there is no codec ${codec}`);
    }
    return Number(codec) === exports.TEXT;
}
function byteCount(width) {
    const count = Number(width);
    if (!Number.isInteger(count) || count < 1 || count > 32) {
        throw new errors_cjs_1.InferenceError("USAGE", `an element has 1 to 32 bytes, not ${width}`);
    }
    return count;
}
/** An integer of either form as one that is exact. */
function whole(value) {
    if (typeof value === "number" && !Number.isSafeInteger(value)) {
        throw new errors_cjs_1.InferenceError("TENSOR_ENCODING", `${value} is not a whole number that is exact`);
    }
    return BigInt(value);
}
function hexOf(data) {
    if (ArrayBuffer.isView(data)) {
        return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
    }
    if (typeof data !== "string" || !/^0x[0-9a-f]*$/i.test(data) || data.length % 2) {
        throw new errors_cjs_1.InferenceError("TENSOR_ENCODING", "these are no bytes in hex: 0x and two digits each");
    }
    return data.slice(2);
}
function latin(data) {
    return hexOf(data).replace(/../g, (pair) => String.fromCharCode(parseInt(pair, 16)));
}
function fromLatin(text) {
    const bytes = Array.from(text, (character) => character.charCodeAt(0));
    return `0x${hexOf(Uint8Array.from(bytes))}`;
}
