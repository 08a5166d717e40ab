/** The client on ethers (6): `inferenceClient(oracle, signer)`; with a provider it only reads. */

import { Contract, type EventLog, type Provider, type Signer } from "ethers";
import { keccak256 } from "ethers";
import { inferenceOracleAbi } from "../abi/InferenceOracle.mjs";
import { modelRegistryAbi } from "../abi/ModelRegistry.mjs";
import { type Chain, type OracleEvent, type RegistryModel, InferenceClient } from "./client.mjs";
import { InferenceError } from "./errors.mjs";
import type { TypedData } from "./signed.mjs";
import type { Hex, Tensor } from "./tensor.mjs";

export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";

/** An oracle, for an account or for a reader. */
export function inferenceClient(oracle: string, runner: Signer | Provider): InferenceClient {
  return new InferenceClient(new EthersChain(oracle, runner));
}

class EthersChain implements Chain {
  readonly oracle: Hex;
  readonly keccak256: (data: Hex) => Hex = (data) => keccak256(data) as Hex;
  readonly #runner: Signer | Provider;
  readonly #contract: Contract;
  #registry: Promise<Contract> | undefined;

  constructor(oracle: string, runner: Signer | Provider) {
    this.oracle = oracle as Hex;
    this.#runner = runner;
    this.#contract = new Contract(oracle, inferenceOracleAbi, runner);
  }

  async chainId(): Promise<bigint> {
    return (await this.#provider().getNetwork()).chainId;
  }

  async account(): Promise<Hex> {
    return (await this.#signer().getAddress()) as Hex;
  }

  async now(): Promise<bigint> {
    const block = await this.#provider().getBlock("latest");
    if (block === null) throw new InferenceError("USAGE", "the endpoint knows no block");
    return BigInt(block.timestamp);
  }

  oracleView(name: string, args: readonly unknown[]): Promise<unknown> {
    return this.#contract.getFunction(name).staticCall(...args);
  }

  async getModel(modelId: bigint): Promise<RegistryModel> {
    this.#registry ??= this.#registryContract();
    const found = await (await this.#registry).getFunction("getModel").staticCall(modelId);
    const [input, output] = ["input", "output"].map((name) => found.getValue(name).toObject());
    return { codec: found.getValue("codec"), input: input as Tensor, output: output as Tensor };
  }

  async send(name: string, args: readonly unknown[], value: bigint): Promise<Hex> {
    this.#signer();
    const call = this.#contract.getFunction(name);
    // Before the transaction: only a call's refusal has the contract's error by name.
    await call.staticCall(...args, { value });
    const sent = await call.send(...args, { value });
    await sent.wait();
    return sent.hash as Hex;
  }

  async mined(transactionHash: Hex, name: string): Promise<readonly OracleEvent[]> {
    const receipt = await this.#provider().getTransactionReceipt(transactionHash);
    if (receipt === null) {
      throw new InferenceError("REQUEST_UNKNOWN", `${transactionHash} is not mined`);
    }
    const address = (await this.#contract.getAddress()).toLowerCase();
    const found: OracleEvent[] = [];
    for (const log of receipt.logs) {
      if (log.address.toLowerCase() !== address) continue;
      const parsed = this.#contract.interface.parseLog(log);
      if (parsed?.name === name) {
        const blockNumber = BigInt(log.blockNumber);
        found.push({ args: parsed.args.toObject(), blockNumber, transactionHash });
      }
    }
    return found;
  }

  async events(name: string, requestId: bigint, from: bigint): Promise<readonly OracleEvent[]> {
    const inputs = this.#contract.interface.getEvent(name)?.inputs ?? [];
    const place = inputs.findIndex((input) => input.name === "requestId");
    const filter = this.#contract.getEvent(name)(...Array(place).fill(null), requestId);
    const logs = (await this.#contract.queryFilter(filter, from)) as EventLog[];
    return logs.map((log) => ({
      args: log.args.toObject(),
      blockNumber: BigInt(log.blockNumber),
      transactionHash: log.transactionHash as Hex,
    }));
  }

  async signTypedData({ domain, types, message }: TypedData): Promise<Hex> {
    const fields = { SignedRequest: [...types.SignedRequest] };
    return (await this.#signer().signTypedData(domain, fields, message)) as Hex;
  }

  async #registryContract(): Promise<Contract> {
    const address = await this.#contract.getFunction("registry").staticCall();
    return new Contract(address as string, modelRegistryAbi, this.#runner);
  }

  #signer(): Signer {
    if ("signTypedData" in this.#runner) return this.#runner;
    throw new InferenceError("USAGE", "the client has no account: give it a signer");
  }

  #provider(): Provider {
    const provider = this.#runner.provider;
    if (provider === null) throw new InferenceError("USAGE", "the signer has no provider");
    return provider;
  }
}
