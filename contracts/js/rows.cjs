"use strict";
/** Rows of numbers as callers give them; not exported by the package. */
Object.defineProperty(exports, "__esModule", { value: true });
exports.rowOf = rowOf;
const errors_cjs_1 = require("./errors.cjs");
/**
 * What a row, or several, is made of.
 *
 * Throws InferenceError: it is one value, a number or a text for one.
 */
function rowOf(values) {
    if (typeof values === "object" && values !== null && Symbol.iterator in values) {
        return Array.from(values);
    }
    const shown = typeof values === "string" ? JSON.stringify(values) : String(values);
    throw new errors_cjs_1.InferenceError("TENSOR_ENCODING", `${shown} is no row of numbers: give an array`);
}
