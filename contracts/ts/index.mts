/** The helper without a library: encode, decode, and what is signed. */

export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";
