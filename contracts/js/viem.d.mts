/** The client on viem (2): `inferenceClient(oracle, client)`; without an account it only reads. */
import type { Account, Client, Chain as ViemNetwork, Transport } from "viem";
import { InferenceClient } from "./client.mjs";
import type { Hex } from "./tensor.mjs";
export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";
/** A public or a wallet client, whatever its chain. */
export type ViemClient = Client<Transport, ViemNetwork | undefined, Account | undefined>;
/** An oracle; `wallet` signs and pays, where it is another client than the one that reads. */
export declare function inferenceClient(oracle: Hex, client: ViemClient, wallet?: ViemClient): InferenceClient;
