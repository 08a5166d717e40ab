/** Rows of numbers as callers give them; not exported by the package. */
/**
 * What a row, or several, is made of.
 *
 * Throws InferenceError: it is one value, a number or a text for one.
 */
export declare function rowOf<T>(values: Iterable<T>): T[];
