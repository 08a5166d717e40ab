/** The client on ethers (6): `inferenceClient(oracle, signer)`; with a provider it only reads. */
import { type Provider, type Signer } from "ethers";
import { InferenceClient } from "./client.mjs";
export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";
/** An oracle, for an account or for a reader. */
export declare function inferenceClient(oracle: string, runner: Signer | Provider): InferenceClient;
