/** The helper without a library: encode, decode, and what is signed. */
export * from "./client.cjs";
export * from "./errors.cjs";
export * from "./signed.cjs";
export * from "./tensor.cjs";
