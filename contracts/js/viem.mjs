/** The client on viem (2): `inferenceClient(oracle, client)`; without an account it only reads. */
import { keccak256, parseEventLogs } from "viem";
import { getBlock, getChainId, getContractEvents, getTransactionReceipt, readContract, signTypedData, simulateContract, waitForTransactionReceipt, writeContract, } from "viem/actions";
import { inferenceOracleAbi } from "../abi/InferenceOracle.mjs";
import { modelRegistryAbi } from "../abi/ModelRegistry.mjs";
import { InferenceClient } from "./client.mjs";
import { InferenceError } from "./errors.mjs";
export * from "./client.mjs";
export * from "./errors.mjs";
export * from "./signed.mjs";
export * from "./tensor.mjs";
/** An oracle; `wallet` signs and pays, where it is another client than the one that reads. */
export function inferenceClient(oracle, client, wallet = client) {
    return new InferenceClient(new ViemChain(oracle, client, wallet));
}
class ViemChain {
    oracle;
    keccak256 = (data) => keccak256(data);
    #client;
    #wallet;
    #contract;
    #registry;
    constructor(oracle, client, wallet) {
        this.oracle = oracle;
        this.#client = client;
        this.#wallet = wallet;
        this.#contract = { address: oracle, abi: inferenceOracleAbi };
    }
    async chainId() {
        return BigInt(await getChainId(this.#client));
    }
    async account() {
        return this.#account().address;
    }
    async now() {
        return (await getBlock(this.#client)).timestamp;
    }
    oracleView(functionName, args) {
        return readContract(this.#client, { ...this.#contract, functionName, args });
    }
    async getModel(modelId) {
        this.#registry ??= this.oracleView("registry", []);
        return readContract(this.#client, {
            address: await this.#registry,
            abi: modelRegistryAbi,
            functionName: "getModel",
            args: [modelId],
        });
    }
    async send(functionName, args, value) {
        const call = { ...this.#contract, functionName, args, value, account: this.#account() };
        // Before the transaction: its refusal has the contract's error by name.
        await simulateContract(this.#client, call);
        const hash = await writeContract(this.#wallet, { ...call, chain: this.#wallet.chain ?? null });
        const { status } = await waitForTransactionReceipt(this.#client, { hash });
        if (status === "success")
            return hash;
        throw new InferenceError("TRANSACTION_REVERTED", `the transaction ${hash} reverted`);
    }
    async mined(hash, eventName) {
        const { logs } = await getTransactionReceipt(this.#client, { hash });
        const ours = logs.filter((log) => log.address.toLowerCase() === this.oracle.toLowerCase());
        return parseEventLogs({ abi: this.#contract.abi, eventName, logs: ours }).map(plain);
    }
    async events(eventName, requestId, fromBlock) {
        const args = { requestId };
        const how = { ...this.#contract, eventName, args, fromBlock, strict: true };
        return (await getContractEvents(this.#client, how)).map(plain);
    }
    signTypedData(data) {
        return signTypedData(this.#wallet, { account: this.#account(), ...data });
    }
    #account() {
        const { account } = this.#wallet;
        if (account === undefined) {
            throw new InferenceError("USAGE", "the client has no account: give it a wallet");
        }
        return account;
    }
}
function plain({ args, blockNumber, transactionHash }) {
    if (blockNumber === null || transactionHash === null) {
        throw new InferenceError("REQUEST_UNKNOWN", "the log is of no block yet");
    }
    return { args: args, blockNumber, transactionHash };
}
