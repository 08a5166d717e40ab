/** What goes wrong in the helper itself; what a contract refuses is the library's own error. */
/** Stable names, those of the command line's errors. */
export type ErrorCode = "TENSOR_LENGTH" | "TENSOR_RANGE" | "TENSOR_ENCODING" | "REQUEST_UNKNOWN" | "REQUEST_REFUNDED" | "REQUEST_TIMEOUT" | "TRANSACTION_REVERTED" | "USAGE";
/** Where a value or a byte is that was refused. */
export interface Place {
    /** Element of a row. */
    readonly index?: number;
    /** Its fixed-point integer. */
    readonly value?: bigint;
    /** Byte of a text, from 0. */
    readonly position?: number;
}
/** Nothing was sent, unless the code is about a request. */
export declare class InferenceError extends Error {
    readonly code: ErrorCode;
    readonly index?: number;
    readonly value?: bigint;
    readonly position?: number;
    constructor(code: ErrorCode, message: string, place?: Place);
}
