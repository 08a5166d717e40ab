/** The client on viem (2): `inferenceClient(oracle, client)`; without an account it only reads. */

import type { Abi, Account, Client, ContractEventArgs, Chain as ViemNetwork, Transport } from "viem";
import { keccak256, parseEventLogs } from "viem";
import {
  getBlock,
  getChainId,
  getContractEvents,
  getTransactionReceipt,
  readContract,
  signTypedData,
  simulateContract,
  waitForTransactionReceipt,
  writeContract,
} from "viem/actions";
import { inferenceOracleAbi } from "../abi/InferenceOracle.mjs";
import { modelRegistryAbi } from "../abi/ModelRegistry.mjs";
import { type Chain, type OracleEvent, type RegistryModel, InferenceClient } from "./client.mjs";
import { InferenceError } from "./errors.mjs";
import type { TypedData } from "./signed.mjs";
import type { Hex } from "./tensor.mjs";

export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";

/** A public or a wallet client, whatever its chain. */
export type ViemClient = Client<Transport, ViemNetwork | undefined, Account | undefined>;

/** An oracle; `wallet` signs and pays, where it is another client than the one that reads. */
export function inferenceClient(
  oracle: Hex,
  client: ViemClient,
  wallet: ViemClient = client,
): InferenceClient {
  return new InferenceClient(new ViemChain(oracle, client, wallet));
}

class ViemChain implements Chain {
  readonly oracle: Hex;
  readonly keccak256: (data: Hex) => Hex = (data) => keccak256(data);
  readonly #client: ViemClient;
  readonly #wallet: ViemClient;
  readonly #contract: { readonly address: Hex; readonly abi: Abi };
  #registry: Promise<Hex> | undefined;

  constructor(oracle: Hex, client: ViemClient, wallet: ViemClient) {
    this.oracle = oracle;
    this.#client = client;
    this.#wallet = wallet;
    this.#contract = { address: oracle, abi: inferenceOracleAbi };
  }

  async chainId(): Promise<bigint> {
    return BigInt(await getChainId(this.#client));
  }

  async account(): Promise<Hex> {
    return this.#account().address;
  }

  async now(): Promise<bigint> {
    return (await getBlock(this.#client)).timestamp;
  }

  oracleView(functionName: string, args: readonly unknown[]): Promise<unknown> {
    return readContract(this.#client, { ...this.#contract, functionName, args });
  }

  async getModel(modelId: bigint): Promise<RegistryModel> {
    this.#registry ??= this.oracleView("registry", []) as Promise<Hex>;
    return readContract(this.#client, {
      address: await this.#registry,
      abi: modelRegistryAbi,
      functionName: "getModel",
      args: [modelId],
    });
  }

  async send(functionName: string, args: readonly unknown[], value: bigint): Promise<Hex> {
    const call = { ...this.#contract, functionName, args, value, account: this.#account() };
    // Before the transaction: its refusal has the contract's error by name.
    await simulateContract(this.#client, call);
    const hash = await writeContract(this.#wallet, { ...call, chain: this.#wallet.chain ?? null });
    const { status } = await waitForTransactionReceipt(this.#client, { hash });
    if (status === "success") return hash;
    throw new InferenceError("TRANSACTION_REVERTED", `the transaction ${hash} reverted`);
  }

  async mined(hash: Hex, eventName: string): Promise<readonly OracleEvent[]> {
    const { logs } = await getTransactionReceipt(this.#client, { hash });
    const ours = logs.filter((log) => log.address.toLowerCase() === this.oracle.toLowerCase());
    return parseEventLogs({ abi: this.#contract.abi, eventName, logs: ours }).map(plain);
  }

  async events(
    eventName: string,
    requestId: bigint,
    fromBlock: bigint,
  ): Promise<readonly OracleEvent[]> {
    const args = { requestId } as ContractEventArgs<Abi, string>;
    const how = { ...this.#contract, eventName, args, fromBlock, strict: true } as const;
    return (await getContractEvents(this.#client, how)).map(plain);
  }

  signTypedData(data: TypedData): Promise<Hex> {
    return signTypedData(this.#wallet, { account: this.#account(), ...data });
  }

  #account(): Account {
    const { account } = this.#wallet;
    if (account === undefined) {
      throw new InferenceError("USAGE", "the client has no account: give it a wallet");
    }
    return account;
  }
}

interface ParsedLog {
  readonly args?: unknown;
  readonly blockNumber: bigint | null;
  readonly transactionHash: Hex | null;
}

function plain({ args, blockNumber, transactionHash }: ParsedLog): OracleEvent {
  if (blockNumber === null || transactionHash === null) {
    throw new InferenceError("REQUEST_UNKNOWN", "the log is of no block yet");
  }
  return { args: args as OracleEvent["args"], blockNumber, transactionHash };
}
