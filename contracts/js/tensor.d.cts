/**
 * Values on their way to a model and back: numbers <-> fixed-point integers <-> bytes.
 *
 * Fixed point: `integer = value * 2**scale`, rounded half away from zero. Bytes are hex with 0x:
 * packed is big-endian two's complement, `width` bytes an element; text is decimal numbers in ASCII.
 */
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
export declare const PACKED = 0;
export declare const TEXT = 1;
/** The bytes that ask a model: those of one row of numbers. */
export declare function encode(values: Iterable<Integer>, tensor: Tensor, { codec, ranges }?: Encoding): Hex;
/** The bytes that ask a model for several rows at once. */
export declare function encodeRows(rows: Iterable<Iterable<Integer>>, tensor: Tensor, how?: Encoding): Hex;
/** The numbers of a result, or of a request, of one row. */
export declare function decode(output: Hex | Uint8Array, tensor: Tensor, how?: Coding): number[];
/** The numbers of a result of one row or more, row by row. */
export declare function decodeRows(output: Hex | Uint8Array, tensor: Tensor, { codec }?: Coding): number[][];
/** The integers that a circuit reads from request bytes; their length is checked, not their range. */
export declare function read(input: Hex | Uint8Array, tensor: Tensor, { codec }?: Coding): bigint[];
/** Integers as the result bytes that the contract delivers. */
export declare function write(integers: Iterable<Integer>, tensor: Pick<Tensor, "width" | "scale">, { codec }?: Coding): Hex;
/** Throw unless there are as many integers as the tensor has, each in its range. */
export declare function check(integers: readonly Integer[], tensor: Tensor, ranges?: readonly Range[]): void;
/** The fixed-point integer of a value, rounded half away from zero. */
export declare function quantize(value: Integer, scale: Integer): bigint;
/** The real value of a fixed-point integer. */
export declare function dequantize(integer: Integer, scale: Integer): number;
/** Integers as packed bytes. */
export declare function pack(integers: Iterable<Integer>, width: Integer): Hex;
/** Packed bytes as integers. */
export declare function unpack(packed: Hex | Uint8Array, width: Integer): bigint[];
