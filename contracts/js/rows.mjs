/** Rows of numbers as callers give them; not exported by the package. */
import { InferenceError } from "./errors.mjs";
/**
 * What a row, or several, is made of.
 *
 * Throws InferenceError: it is one value, a number or a text for one.
 */
export function rowOf(values) {
    if (typeof values === "object" && values !== null && Symbol.iterator in values) {
        return Array.from(values);
    }
    const shown = typeof values === "string" ? JSON.stringify(values) : String(values);
    throw new InferenceError("TENSOR_ENCODING", `${shown} is no row of numbers: give an array`);
}
