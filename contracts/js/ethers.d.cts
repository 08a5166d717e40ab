/** The client on ethers (6): `inferenceClient(oracle, signer)`; with a provider it only reads. */
import { type Provider, type Signer } from "ethers";
import { InferenceClient } from "./client.cjs";
export * from "./client.cjs";
export * from "./errors.cjs";
export * from "./signed.cjs";
export * from "./tensor.cjs";
/** An oracle, for an account or for a reader. */
export declare function inferenceClient(oracle: string, runner: Signer | Provider): InferenceClient;
